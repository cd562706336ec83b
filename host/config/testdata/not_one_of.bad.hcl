logger "stderr" "console" {
  level  = "warn"
  format = "xml"
}
plugin "demo" {
  isolation = "Pooled"
  tls       = "on"
}
