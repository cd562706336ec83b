host {
  task_execution_time    = 1e10
  empty_queue_sleep_time = "1e300"
  shutdown_timeout       = "9999999999999h"
  kill_grace             = "1 minute"
  lease_time             = "NaN"
}
