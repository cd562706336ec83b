error_reporting "mail" "a" {
}
error_reporting "webhook" "nowhere" {
}
error_reporting "webhook" "old" {
  url = "ftp://hunter2/x"
}
error_reporting "webhook" "chat" {
  url     = "https://example.org/hunter2"
  queue   = 0
  timeout = -1
}
error_reporting "webhook" "chat" {
  url     = "https://example.org/hunter2"
  headers = { "a b" = "hunter2", "c" = "hunter2\n" }
}
error_reporting "sentry" "s" {
  dsn = "hunter2"
}
error_reporting "plugin" "p" {
  call_timeout = 0
}
error_reporting "log" {
}
error_reporting "log" "l" {
  level = "fatal"
}
error_reporter "log" "l" {
}
