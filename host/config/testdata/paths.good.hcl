host {
  plugin_dir = "./a/../b/"
  state_dir  = "/var//lib/leptir/"
}
broker "sqlite" "relative" { path = "q.db" }
broker "sqlite" "parent" { path = "../q.db" }
broker "sqlite" "none" { path = "" }
broker "server" "nested" {
  tls { ca = "certs/ca.pem" }
}
