# Everything that is wrong shows at once.
task_alias = { "Old\\Task" = "not a type", Same = "a", Same = "b" }
number_of_workers = 4

hots {
  name = "x"
}

host {
  number_of_workers   = 0
  task_execution_time = -1
  lease_time          = "soon"
  plugin_dir          = 5
  worker_count        = 3
}

broker "redsi" "default" {
  password = "hunter2"
}

broker "sqlite" "default" {
  pathh       = "x"
  synchronous = "ful"
  cache_size  = "1TiB"
  priority    = "high"
}

broker "server" "default" {
  connection {
    adress   = "x"
    password = 5
  }
  connection {}
  retries = 1.5
}

meta_storage "keys" "fast" {
  on_failure = "explode"
}

logger "file" "main" {
  level = info
}

plugin "demo" {
  isolation   = "shared"
  memory_max  = "lots"
  environment = { A = [1], "B=C" = "hunter2" }
  arguments   = [{}, null, "ok"]
}
plugin "demo" {
  spares = env("LEPTIR_TEST_UNSET")
}
