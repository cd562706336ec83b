package daemon

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// order is a signal and when it came: what handles it may be busy, and whether it is a
// second one depends on that.
type order struct {
	os.Signal
	at time.Time
}

// listen returns the signals that the host obeys, from now on. stop ends that.
func listen() (orders <-chan order, stop func()) {
	// A log reader that goes away must not take the host along.
	signal.Ignore(syscall.SIGPIPE)
	raw := make(chan os.Signal, 8)
	signal.Notify(raw, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	stamped := make(chan order, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sig := range raw {
			select {
			case stamped <- order{sig, time.Now()}:
			default: // nobody has looked for 64 signals: one more says nothing new
			}
		}
	}()
	return stamped, func() {
		signal.Stop(raw)
		close(raw)
		<-done
	}
}
