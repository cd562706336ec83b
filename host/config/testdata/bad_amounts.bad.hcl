plugin "a" { memory_max = -1 }
plugin "b" { memory_max = "256 parsecs" }
plugin "c" { memory_max = 0.5 }
plugin "d" { memory_max = "20EB" }
plugin "e" { memory_max = "-1MiB" }
plugin "f" { memory_max = "" }
