broker "server" "main" {
  options = { a = null, b = [], c = { d = 1 }, (null) = "x", (5) = "y", a = "twice" }
  queues  = ["a", null, ["b"], {}]
}
plugin "demo" {
  environment = true ? ["x"] : ["y"]
  arguments   = (["a", [1]])
}
