host {
  zzzzzzzzzzzz = 1
}
