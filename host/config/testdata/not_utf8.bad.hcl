host {
  name = "ÿþ"
}
