host {
  cgroup_parent = "/leptir.slice"

  limits {
    memory_max = "1GiB"
    pids_max   = 0
    strict     = true
  }
}

plugin "resize" {
  limits {
    memory_max   = "256MiB"
    cpu_max      = 1.5
    pids_max     = 64
    open_files   = 1024
    output_max   = "64MiB"
    scratch_max  = "1GiB"
    run_as       = "nobody:nogroup"
    no_new_privs = true
    protect_host = true
    paths_read   = ["/srv/pictures"]
    paths_write  = ["/srv/small"]
    network      = false
    strict       = false
  }
}

plugin "inherits" {
  max_tasks = 5
}
