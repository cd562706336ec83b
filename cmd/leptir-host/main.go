// Command leptir-host pulls tasks from its brokers and runs each in a plugin process.
//
//	leptir-host -config leptir.hcl [-daemon] [-pid FILE]
//
// SIGTERM or SIGINT ends it once running tasks are done, a second one at once; SIGHUP has
// it read its configuration anew and reopen its log files.
package main

import (
	"os"

	"github.com/backplane/leptir/host/daemon"
)

func main() { os.Exit(daemon.Main(os.Args[1:], os.Stdout, os.Stderr)) }
