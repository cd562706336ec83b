host {
  name              = env()
  plugin_dir        = env("A", "b", "c")
  state_dir         = env(null)
  number_of_workers = env("LEPTIR_TEST_PASSWORD_", "x")
  lease_time        = evn("X")
  kill_grace        = env(["x"])
}
