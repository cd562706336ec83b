broker {}
broker "sqlite" {}
broker "sqlite" "a" "b" {}
meta_storage "default" {}
logger {
  path = "x"
}
plugin {}
plugin "a" "b" {}
host "x" {}
