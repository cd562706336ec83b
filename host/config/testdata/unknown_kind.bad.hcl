broker "sqllite" "a" {}
broker "rabbitmq" "b" { password = "hunter2" }
meta_storage "mongo" "c" {}
logger "pigeon" "d" {}
