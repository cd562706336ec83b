package mongodb

import (
	"context"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// clockAge is how long a reading of the server's clock is good for.
const clockAge = time.Minute

// clock knows the time of the server, by which tasks are due and leases end: the clocks of
// hosts may differ. MongoDB can set the server's own time in an update, but cannot add to it
// there in a way that all servers know; so its clock is read now and then, and the time since
// is counted by this machine's monotonic clock.
type clock struct {
	mu     sync.Mutex
	base   time.Time // the server's time at read
	read   time.Time // of this machine's monotonic clock
	stream bool      // the server has change streams
}

// at returns what the server's clock shows when this machine's shows t, as far as is known.
func (c *clock) at(t time.Time) (server time.Time, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read.IsZero() {
		return t, false
	}
	since := t.Sub(c.read)
	return c.base.Add(since), since < clockAge
}

func (c *clock) set(base, read time.Time, stream bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.read, c.stream = base, read, stream
}

// slack is how far apart two clocks may be without it being told from a slow answer.
const slack = 2 * time.Second

// Skew implements brokers.Clocked.
func (b *Broker) Skew() time.Duration {
	local := b.local()
	server, _ := b.clock.at(local)
	// Without the monotonic clock, by which at counts: it is the times of day that differ,
	// and this machine's may have jumped since the server's was read.
	skew := server.Round(0).Sub(local.Round(0))
	if skew.Abs() < slack {
		return 0
	}
	return skew
}

func (c *clock) hasStreams() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stream
}

// now returns the server's time, and reads its clock if the last reading is old.
func (b *Broker) now(ctx context.Context) (time.Time, error) {
	if t, fresh := b.clock.at(b.local()); fresh {
		return t, nil
	}
	if err := b.readClock(ctx); err != nil {
		return time.Time{}, err
	}
	t, _ := b.clock.at(b.local())
	return t, nil
}

// readClock asks the server for its time, and for what it is.
func (b *Broker) readClock(ctx context.Context) error {
	sent := b.local()
	var hello struct {
		LocalTime time.Time `bson:"localTime"`
		SetName   string    `bson:"setName"`
		Message   string    `bson:"msg"`
	}
	if err := b.conn.DB.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		return err
	}
	took := b.local().Sub(sent)
	if hello.LocalTime.IsZero() { // no server that is known of
		hello.LocalTime = sent.Add(took / 2)
	}
	b.clock.set(hello.LocalTime, sent.Add(took/2), hello.SetName != "" || hello.Message == "isdbgrid")
	return nil
}
