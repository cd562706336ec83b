host {
  name              = "a${1e999999999}"
  plugin_dir        = "a${1e600000000}"
  number_of_workers = 1e-600000000
}
