# Every kind of logger.
logger "stderr" "console" {}

logger "file" "plain" {
  path = "log/plain.log"
}

logger "file" "large" {
  path     = "/var/log/leptir/large.log"
  max_size = "1GiB"
  keep     = 0
  level    = "debug"
}

logger "file" "by_logrotate" {
  path     = "/var/log/leptir/rotated.log"
  max_size = 0
}

logger "syslog" "local" {}

logger "syslog" "central" {
  address  = "tcp://logs.example:6514"
  facility = "local3"
  tag      = "leptir-eu"
  level    = "warning"
  format   = "json"
}

logger "journal" "journal" {
  tag = "leptir"
}
