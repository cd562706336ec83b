host {
  name = [for x in ["a"] : x]
}
plugin "demo" {
  arguments = ["%{ for x in ["a", "b"] }${x}%{ endfor }"]
}
