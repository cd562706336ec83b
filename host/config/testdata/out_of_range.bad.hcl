host {
  number_of_workers = 10001
  max_attempts      = 0
  max_crashes       = 100000000000000000000
  lease_time        = "10ms"
}
broker "server" "main" {
  retries = -1
  jitter  = 1.01
  limit   = 1e30
}
broker "sqlite" "q" {
  cache_size   = 1
  busy_timeout = "11m"
}
plugin "demo" {
  max_tasks = -1
  spares    = 10001
}
broker "server" "other" {
  limit = 9007199254740994
}
