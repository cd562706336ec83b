broker "server" "main" {
  connection "label" {
    address = "a"
  }
  tls {}
  tls {}
  tsl {
    ca = "hunter2"
  }
}
