plugin "a" { memory_max = "512 MB" }
plugin "b" { memory_max = "1.5GiB" }
plugin "c" { memory_max = 1048576 }
plugin "d" { memory_max = "1048577" }
plugin "e" { memory_max = 0 }
