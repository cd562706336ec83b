broker "sqlite" "a" {}
broker "server" "a" {}
meta_storage "sqlite" "r" {}
meta_storage "sqlite" "r" {}
logger "stdout" "x" {}
logger "stderr" "x" {}
plugin "p" {}
plugin "p" {}
