broker "server" "main" {
  uri       = "server://:\"hunter2\"@x"
  exclusive = true
  queues    = []
  connection {
    username = "u"
  }
}
plugin "demo" {
  environment       = { "A=B" = "hunter2", "" = "x" }
  environment_allow = ["PATH", "X=Y"]
  arguments         = ["a"]
}
host {
  name = ""
}
