package redis

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/backplane/leptir/brokers"
)

// wakes tells those who wait that a task may have come due.
type wakes struct {
	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, at every wake
}

func (w *wakes) init() { w.changed = make(chan struct{}) }

// next returns the channel that is closed at the next wake.
func (w *wakes) next() <-chan struct{} { w.mu.Lock(); defer w.mu.Unlock(); return w.changed }

func (w *wakes) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// Wait implements brokers.Waiter. A push by leptir wakes it at once, what comes due by the
// clock when it does, and a message that others put into the queue after the poll interval
// at the latest, which also bounds what a lost connection hides.
func (b *Broker) Wait(ctx context.Context) error {
	b.listening.Do(func() { b.workers.Go(b.listen) })
	for {
		woken := b.wakes.next()
		due, err := b.nextDue(ctx)
		if err != nil {
			return b.wrap("wait", err)
		}
		if due <= 0 {
			return nil
		}
		timer := time.NewTimer(min(due, b.poll))
		select {
		case <-woken:
		case <-timer.C:
			if due > b.poll {
				continue
			}
		case <-ctx.Done():
			err = ctx.Err()
		case <-b.background.Done():
			err = brokers.ErrClosed
		}
		timer.Stop()
		return b.wrap("wait", err)
	}
}

// nextDue returns how long it is until a task becomes due by the clock alone.
func (b *Broker) nextDue(ctx context.Context) (time.Duration, error) {
	text, err := b.runText(ctx, nextScript, nil)
	if err != nil {
		return 0, err
	}
	const never = 24 * time.Hour
	if text == "" {
		return never, nil
	}
	s, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("the server's reply is not what was asked for: %w", err)
	}
	if s > never.Seconds() {
		return never, nil
	}
	return time.Duration(s * float64(time.Second)), nil
}

// listen hears of pushes until the broker is closed. go-redis connects it again whenever the
// connection is lost; as pushes may have gone unheard then, that is a wake, too.
func (b *Broker) listen() {
	heard := b.conn.Redis.Subscribe(b.background, b.keys.channel)
	defer heard.Close()
	messages := heard.ChannelWithSubscriptions()
	for {
		select {
		case _, ok := <-messages:
			if !ok {
				return
			}
			b.wakes.wake()
		case <-b.background.Done():
			return
		}
	}
}
