# A relative socket file is taken from the folder of the configuration.
admin {
  address = "unix:run/admin.sock"
}
