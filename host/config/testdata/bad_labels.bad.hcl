plugin "" {}
plugin "a/b" {}
plugin ".hidden" {}
plugin "this-name-is-longer-than-any-name-of-a-block-may-be-in-this-program-really" {}
broker "sqlite" "zwei worte" {}
