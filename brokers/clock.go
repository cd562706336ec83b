package brokers

import (
	"sync"
	"time"
)

// skewSlack is how far apart two clocks may be without it being told from a slow answer.
const skewSlack = 2 * time.Second

// ServerClock knows what a server's clock shows, once it has been told; from then on it
// counts by this machine's monotonic clock, so that a jump of the machine's wall clock shows
// at once as a skew. The zero value knows nothing. It is safe for concurrent use.
type ServerClock struct {
	mu     sync.Mutex
	server time.Time // what the server's clock showed
	read   time.Time // when, by the monotonic clock
}

// Set takes in what the server's clock shows now.
func (c *ServerClock) Set(server time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server, c.read = server.Round(0), time.Now()
}

// Skew returns how far the server's clock is ahead of a machine's that shows local now. Less
// than 2 seconds, which may be the way of the answer, and what nothing is known of, are 0.
func (c *ServerClock) Skew(local time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read.IsZero() {
		return 0
	}
	skew := c.server.Add(time.Since(c.read)).Sub(local.Round(0))
	if skew.Abs() < skewSlack {
		return 0
	}
	return skew
}
