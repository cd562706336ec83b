# Everything said, in an order of its own.
plugin "demo" {
  isolation           = "fresh"
  max_tasks           = 0
  max_age             = "1h30m"
  memory_max          = "256MiB"
  spares              = 2
  max_processes       = 3
  start_timeout       = 2.5
  kill_grace          = 0
  task_execution_time = "90s"
  tls                 = "auto"
  environment         = { MODE = "test", PORT = 8080, DEBUG = true, "with space" = "x" }
  environment_allow   = ["PATH"]
  arguments           = ["-v", "a \"quoted\" ${1 + 1}", 5]
}

broker "server" "mail" {
  priority                = -3
  task_count_caching_time = 0
  uri                     = "server://u:hunter2@x"
  limit                   = 9007199254740993
  exclusive               = true
  retries                 = 10
  jitter                  = 0.25
  queues                  = ["a", "b"]
  keys                    = ["hunter2", ""]
  options                 = { readPreference = "secondaryPreferred" }
  headers                 = { Authorization = "hunter2" }
  connection {
    address  = "db:1"
    password = env("LEPTIR_TEST_PASSWORD")
    pool {
      size = 5
      idle = "1m"
    }
  }
  tls {
    ca = "ca.pem"
  }
}

broker "sqlite" "default" {
  path         = "/var/lib/leptir/queue.db"
  synchronous  = "full"
  busy_timeout = "1m30s"
  cache_size   = 65536
}

meta_storage "keys" "fast" {
  on_failure   = "drop"
  token        = "hunter2"
  expire_after = 86400
}

meta_storage "sqlite" "records" {
  path = "../records.db"
}

logger "file" "main" {
  path   = "log/leptir.log"
  format = "json"
  level  = "debug"
}

logger "stdout" "errors" {
  level = "error"
}

task_alias = {
  "Leptir\\Task\\Test\\TestTask" = "demo.test"
  Old_Mail                       = "mail.send"
}

host {
  name                      = "worker-1"
  task_execution_time       = "10m30s"
  number_of_workers         = 16
  empty_queue_sleep_time    = 0
  workers_active_sleep_time = 0.001
  plugin_dir                = "/opt/leptir/plugins"
  state_dir                 = "state"
  lease_time                = "1m"
  shutdown_timeout          = 0
  kill_grace                = 1.5
  max_attempts              = 5
  max_crashes               = 2
}
