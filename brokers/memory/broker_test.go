package memory_test

import (
	"sync"
	"testing"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/brokertest"
	"github.com/backplane/leptir/brokers/memory"
)

// clock is a clock that only moves when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time          { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) Advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

var harness = brokertest.Harness{
	NewQueue: func(testing.TB) brokertest.Queue {
		c := &clock{now: time.Now()}
		q := memory.NewQueue(memory.Options{Now: c.Now})
		return brokertest.Queue{
			Open:      func(testing.TB) brokers.Broker { return q.Open() },
			InjectRaw: func(_ testing.TB, raw []byte) { q.PushRaw(raw) },
			Now:       c.Now,
			Advance:   c.Advance,
		}
	},
}

func TestConformance(t *testing.T) { brokertest.Run(t, harness) }

// realTime is the queue as a server is: nobody can set its clock.
var realTime = brokertest.Harness{
	NewQueue: func(testing.TB) brokertest.Queue {
		q := memory.NewQueue(memory.Options{})
		return brokertest.Queue{Open: func(testing.TB) brokers.Broker { return q.Open() }}
	},
}

// TestConformanceRealTime keeps the suite itself honest about time: back ends on servers
// run it like this.
func TestConformanceRealTime(t *testing.T) {
	if testing.Short() {
		t.Skip("sleeps")
	}
	brokertest.Run(t, realTime)
}

func BenchmarkBroker(b *testing.B) { brokertest.Bench(b, realTime) }
