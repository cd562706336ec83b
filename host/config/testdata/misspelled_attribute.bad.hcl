broker "sqlite" "default" {
  pathh = "x"
}
