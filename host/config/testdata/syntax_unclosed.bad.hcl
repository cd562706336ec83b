host {
  number_of_workers = 4

broker "sqlite" "default" {}
