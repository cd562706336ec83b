host {
  cgroup_parent = "../up"
}

plugin "misspelled" {
  limits {
    memmory_max = 1
    cpu_max     = -1
    pids_max    = 0.5
  }
}

plugin "twice" {
  limits {
    strict = true
  }
  limits {
    strict = true
  }
}

plugin "labelled" {
  limits "label" {}
}

plugin "too_small" {
  limits {
    memory_max  = "1MiB"
    run_as      = "user:"
    open_files  = 63
    pids_max    = 31
    cpu_max     = 0.001
    paths_read  = ["", "~/pictures"]
    paths_write = ["./x"]
    scratch_max = "4095B"
  }
}
