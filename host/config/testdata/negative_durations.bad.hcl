host {
  task_execution_time    = -1
  empty_queue_sleep_time = "-1s"
  shutdown_timeout       = "-0.5"
}
