host {
  number_of_workers = null
  plugin_dir        = null
}
broker "sqlite" "default" {
  priority = null
  path     = null
}
plugin "demo" {
  environment_allow = null
  environment       = null
}
task_alias = null
