host {
  name              = 5
  number_of_workers = "four"
  max_attempts      = true
  max_crashes       = [1]
  lease_time        = {}
  plugin_dir        = false
}
broker "server" "main" {
  exclusive = "yes"
  options   = "a=b"
  queues    = "tasks"
  limit     = 1.25
  jitter    = "much"
}
