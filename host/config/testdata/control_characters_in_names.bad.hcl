host {
  name = env("\u001b[2J")
}
broker "sqlite\u001b" "a\u202e" {}
task_alias = { "\u0007" = "\u009b" }
