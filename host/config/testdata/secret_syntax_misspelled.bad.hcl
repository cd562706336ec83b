broker "server" "main" {
  connection {
    Pasword: "hunter2",
  }
}
