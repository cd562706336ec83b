logger "stderr" "console" {
  level = debug
}
broker "server" "main" {
  uri   = hunter2
  queues = [tasks, env.X]
}
