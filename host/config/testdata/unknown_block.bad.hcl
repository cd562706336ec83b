brokr "sqlite" "default" {}
banana {}
