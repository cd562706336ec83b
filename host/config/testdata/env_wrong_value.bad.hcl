host {
  number_of_workers = env("LEPTIR_TEST_EMPTY")
  lease_time        = env("LEPTIR_TEST_TRUE")
}
