host {
  task_execution_time       = 0.5
  empty_queue_sleep_time    = "1.5s"
  workers_active_sleep_time = "250"
  lease_time                = 1e2
  shutdown_timeout          = "0"
  kill_grace                = "1h2m3s4ms"
}
plugin "arithmetic" {
  max_age       = 24 * 60 * 60
  start_timeout = 1.234567899
}
