admin "here" {
  address = "9464"
  port    = 9464
}

admin {
  address = "unix:"
}
