host {
  max_attempts      = 0
  retry_backoff     = "2h"
  retry_backoff_max = "1h"
}

plugin "p" {
  retry_backoff = "3h"
}

broker "sqlite" "default" {
  dead_retention = -1
}
