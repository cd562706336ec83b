# What a plugin does not say about retries it takes from the host.
host {
  max_attempts      = 5
  retry_backoff     = "500ms"
  retry_backoff_max = "10m"
}

plugin "patient" {
  max_attempts      = 20
  retry_backoff     = 0
  retry_backoff_max = 0
}

plugin "usual" {
  retry_backoff_max = "1h"
}

broker "sqlite" "default" {
  dead_retention = "720h"
}

admin {
  address = "127.0.0.1:9464"
}
