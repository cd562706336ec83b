broker "server" "main" {
  connection {
    password "hunter2" {}
  }
  password "hunter2"
}
