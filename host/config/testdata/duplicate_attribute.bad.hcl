host {
  number_of_workers = 4
  number_of_workers = 5
  kill_grace        = "x"
}
broker "server" "main" {
  connection {
    password = "first"
    password = "hunter2"
  }
}
