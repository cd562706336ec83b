error_reporting "log" "lines" {
  level = "warning"
  stack = false
}
error_reporting "webhook" "chat" {
  url         = "https://hooks.example.org/hunter2"
  secret      = env("LEPTIR_TEST_PASSWORD")
  headers     = { Authorization = "hunter2" }
  retries     = 2
  try_timeout = 3
  queue       = 50
  timeout     = "1m"
  redact      = ["iban", "birth_date"]
  parameters  = false
}
error_reporting "sentry" "sentry" {
  dsn         = "https://hunter2@sentry.example.org/42"
  environment = "staging"
}
error_reporting "plugin" "pager" {
  plugin       = "pager"
  call_timeout = 2.5
}
