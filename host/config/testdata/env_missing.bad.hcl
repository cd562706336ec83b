host {
  name = env("LEPTIR_TEST_UNSET")
}
broker "server" "main" {
  uri = "server://${env("LEPTIR_TEST_UNSET_TOO")}:hunter2@x"
}
