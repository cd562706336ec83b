broker "server" "main" {
  connection = { password = "hunter2" }
  options {
    mode = "fast"
  }
  limit {}
}
host = { number_of_workers = 4 }
task_alias {
  Old = "new"
}
