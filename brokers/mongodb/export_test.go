package mongodb

import (
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
