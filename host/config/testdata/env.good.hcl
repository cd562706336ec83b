# env gives texts; where a number or a truth is wanted they are read as such.
host {
  number_of_workers   = env("LEPTIR_TEST_WORKERS")
  lease_time          = env("LEPTIR_TEST_UNSET", "45")
  task_execution_time = env("LEPTIR_TEST_UNSET", "1m")
  max_attempts        = env("LEPTIR_TEST_UNSET", 7)
  name                = "host-${env("LEPTIR_TEST_WORKERS")}"
}
broker "server" "main" {
  exclusive = env("LEPTIR_TEST_TRUE")
  jitter    = env("LEPTIR_TEST_UNSET", "0.125")
  uri       = env("LEPTIR_TEST_EMPTY")
  keys      = [env("LEPTIR_TEST_PASSWORD")]
  options   = { password = env("LEPTIR_TEST_WORKERS") }
}
plugin "demo" {
  memory_max = env("LEPTIR_TEST_UNSET", "1GiB")
}
