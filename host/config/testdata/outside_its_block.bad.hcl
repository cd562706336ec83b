host {
  retries = 3
  memory_max = "1GiB"
}
plugin "a" {
  pids_max = 10
}
