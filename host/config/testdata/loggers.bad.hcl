logger "file" "no_path" {}

logger "file" "tiny" {
  path     = "x.log"
  max_size = 10
}

logger "file" "negative" {
  path = "y.log"
  keep = -1
}

logger "syslog" "address" {
  address = "logs.example"
}

logger "syslog" "port" {
  address = "udp://logs.example:syslog"
}

logger "syslog" "facility" {
  facility = "mail"
}

logger "journal" "tag" {
  tag = "two words"
}
