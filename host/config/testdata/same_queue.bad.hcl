broker "sqlite" "a" {}

broker "sqlite" "b" {
  priority = 5
  path     = "./var/leptir.db"
}
