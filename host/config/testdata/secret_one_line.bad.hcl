meta_storage "keys" "a" { tokn = "hunter2" }
meta_storage "keyz" "b" { token = "hunter2" }
meta_storage "keys" { token = "hunter2" }
