host {
  name = "žaba-лептир"
}
plugin "demo" {
  arguments = ["tab\there", "$${literal}", "%%{literal}", "\u0007", "back\\slash", "\u202e"]
}
