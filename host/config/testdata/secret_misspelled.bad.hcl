broker "server" "main" {
  connection {
    pasword = "hunter2"
    address = 5
  }
}
