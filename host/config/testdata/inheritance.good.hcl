# A plugin inherits from the host block, wherever that stands, unless it says otherwise.
plugin "inherits" {}
plugin "zero" {
  task_execution_time = 0
  kill_grace          = 0
  max_processes       = 0
}
plugin "own" {
  task_execution_time = 5
  kill_grace          = 1
  max_processes       = 1
}
host {
  task_execution_time = 60
  kill_grace          = 7
  number_of_workers   = 9
}
