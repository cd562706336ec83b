# Blocks inside a block: one that is not there keeps its defaults, one that may be absent
# is absent.
broker "server" "a" {}
broker "server" "b" {
  connection {}
  tls {}
}
