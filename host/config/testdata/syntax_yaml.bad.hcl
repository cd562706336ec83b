host:
  number_of_workers: 4
