broker "server" "main" {
  connection {
    password = "hunter2
  }
}
