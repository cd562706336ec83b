host {
  number_of_workers = (2 + 2) * 2
}
plugin "demo" {
  environment_allow = []
  spares      = 1 == 1 ? 3 : 4
  environment = true ? { A = "x" } : { A = "y" }
  arguments   = (["a", 1, false])
}
plugin "heredoc" {
  arguments = [<<-END
    one
      two
  END
  ]
}
