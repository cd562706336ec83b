// Command leptirctl pushes tasks to leptir's queues and shows what became of them; see
// leptirctl -help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/backplane/leptir/host/ctl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program even if the first one does not.
	context.AfterFunc(ctx, stop)
	code := ctl.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
