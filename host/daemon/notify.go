package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

const (
	// notifyQueue is how many messages may wait for a service manager that does not take
	// them; what comes on top is dropped, since the next one says more.
	notifyQueue = 16
	// notifyFlush is how long the last messages are waited for at the end.
	notifyFlush = time.Second
	// watchdogShare says how often the watchdog is fed within its time, and so how long a
	// proof of life may take.
	watchdogShare = 3
)

// notifier tells the service manager how the host is, where there is one that wants to know
// ($NOTIFY_SOCKET). It holds nobody up.
type notifier struct {
	logger *slog.Logger
	queue  chan string
	sent   chan struct{} // closed when all is sent

	watching context.Context
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

func newNotifier(logger *slog.Logger) *notifier {
	n := &notifier{logger: logger, queue: make(chan string, notifyQueue), sent: make(chan struct{})}
	n.watching, n.stop = context.WithCancel(context.Background())
	go func() {
		defer close(n.sent)
		for message := range n.queue {
			if _, err := sd.SdNotify(false, message); err != nil {
				logger.Warn("the service manager cannot be told", "message", message, "error", err)
			}
		}
	}()
	return n
}

// send sends a message of one or more lines.
func (n *notifier) send(message string) {
	select {
	case n.queue <- message:
	default:
	}
}

// ready says that the host works, and what it does.
func (n *notifier) ready(status string) {
	n.send(sd.SdNotifyReady + "\nSTATUS=" + strings.ReplaceAll(status, "\n", " "))
}

// reloading says that the host reads its configuration anew; ready must follow.
func (n *notifier) reloading() {
	message := sd.SdNotifyReloading
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
		message += fmt.Sprintf("\nMONOTONIC_USEC=%d", now.Nano()/1000)
	}
	n.send(message)
}

// watch feeds the service manager's watchdog, if there is one, for as long as alive proves
// that the host works. It returns at once; close ends it.
func (n *notifier) watch(alive func(context.Context) error) {
	within, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		n.logger.Warn("the service manager's watchdog is not understood", "error", err)
		return
	}
	if within > 0 {
		n.wg.Go(func() { n.feed(within/watchdogShare, alive) })
	}
}

func (n *notifier) feed(every time.Duration, alive func(context.Context) error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	well := true
	for {
		ctx, cancel := context.WithTimeout(n.watching, every)
		err := alive(ctx)
		cancel()
		switch {
		case n.watching.Err() != nil:
			return
		case err == nil:
			if len(n.queue) == 0 { // a late sign of life is none, and would take another message's place
				n.send(sd.SdNotifyWatchdog)
			}
		case well:
			n.logger.Error("the host does not answer; unless it does soon, the service manager's watchdog ends it", "error", err)
		}
		well = err == nil
		select {
		case <-n.watching.Done():
			return
		case <-tick.C:
		}
	}
}

// close ends the feeding and sends what waits, for a while.
func (n *notifier) close() {
	n.stop()
	n.wg.Wait()
	close(n.queue)
	timer := time.NewTimer(notifyFlush)
	defer timer.Stop()
	select {
	case <-n.sent:
	case <-timer.C: // it is in a system call that nobody can end; the program is about to
	}
}
