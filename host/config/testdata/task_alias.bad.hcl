task_alias = {
  "Old\\Mail" = "mail send"
  "Old\\Pic"  = ""
  "Old\\Fine" = "fine"
}
