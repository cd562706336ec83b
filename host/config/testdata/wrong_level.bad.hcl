number_of_workers = 4
broker "sqlite" "q" {
  host {
    name = "x"
  }
}
host {
  task_alias = {}
}
