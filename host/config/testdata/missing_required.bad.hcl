logger "file" "main" {}
logger "file" "empty" { path = "" }
logger "file" "null" { path = null }
meta_storage "keys" "fast" {}
broker "server" "main" {
  connection {
    pool {}
  }
}
