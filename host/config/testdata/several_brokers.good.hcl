# Names are unique among brokers only: a logger may have a broker's name.
broker "sqlite" "urgent" {
  priority = 1
}
broker "sqlite" "later" {
  path = "later.db"
  priority = 2
}
broker sqlite unquoted {
  path = "unquoted.db"
  priority = 2
}
meta_storage "sqlite" "urgent" {}
logger "stdout" "urgent" {}
logger "stderr" "later" { format = "json" }
