package mongodb

import (
	"context"
	"time"

	"github.com/backplane/leptir/brokers"
)

// HaveStreams makes a broker believe that its server has change streams.
func HaveStreams(b brokers.Broker) {
	c := &b.(*Broker).clock
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream = true
}

// StreamsRest reports whether the broker leaves change streams alone for a while.
func StreamsRest(b brokers.Broker) bool {
	m := b.(*Broker)
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.noStreamsTo)
}

// EndStream lets the broker's change stream end as if nobody had waited for long.
func EndStream(b brokers.Broker) {
	m := b.(*Broker)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waited = time.Time{}
}

// Claims has several handles look for n tasks, and only then claim, one after the other, what
// they have seen. It returns what each got.
func Claims(ctx context.Context, hosts []brokers.Broker, n int) (got [][]brokers.Delivery, err error) {
	seen := make([][]*document, len(hosts))
	for i, h := range hosts {
		if seen[i], err = h.(*Broker).candidates(ctx, n); err != nil {
			return nil, err
		}
	}
	for i, h := range hosts {
		ds, err := h.(*Broker).claim(ctx, seen[i], time.Minute)
		if err != nil {
			return nil, err
		}
		got = append(got, ds)
	}
	return got, nil
}
