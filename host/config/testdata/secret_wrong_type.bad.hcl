broker "server" "main" {
  uri     = ["hunter2"]
  headers = { Authorization = ["hunter2"], X = hunter2, Y = "ok" }
  keys    = ["ok", { a = "hunter2" }]
  tokens  = ["ok", "hunter2${5 + {}}"]
  connection {
    password = <<END
hunter2 ${env("LEPTIR_TEST_UNSET")}
END
  }
}
