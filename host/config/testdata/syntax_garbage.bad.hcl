host {
  name = = "x"
}
}
