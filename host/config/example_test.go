package config_test

import (
	"fmt"

	"github.com/backplane/leptir/host/config"
)

func Example() {
	kinds := testKinds() // a program has those of its back ends
	c, err := config.Parse([]byte(`
host {
  number_of_workers = 8
}
broker "sqlite" "default" {
  path = "queue.db"
}
plugin "mailer" {
  isolation = "fresh"
}
`), "/etc/leptir/leptir.hcl", kinds)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Host.NumberOfWorkers, c.Host.TaskExecutionTime)
	fmt.Println(c.Brokers[0].Settings.(*fileBroker).Path)
	fmt.Println(c.Plugin("mailer").Isolation, c.Plugin("other").Isolation)
	// Output:
	// 8 10m0s
	// /etc/leptir/queue.db
	// fresh pooled
}

func ExampleError() {
	_, err := config.Parse([]byte(`
broker "sqlite" "default" {
  pathh = "x"
}
host {
  number_of_workers = 0
}
`), "leptir.hcl", testKinds())
	fmt.Println(err)
	// Output:
	// leptir.hcl:3:3: error: broker "sqlite" "default" has no attribute "pathh"; did you mean "path"?
	//     3 |   pathh = "x"
	//       |   ^^^^^
	// leptir.hcl:6:23: error: host: number_of_workers must be between 1 and 10000, not 0
	//     6 |   number_of_workers = 0
	//       |                       ^
	// 2 errors in leptir.hcl
}
