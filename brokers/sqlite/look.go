package sqlite

import (
	"context"
	"sync"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/sqlitedb"
)

// longQueue is how many tasks make a queue a long one. SQLite counts by walking an index:
// 2 ms for so many, 30 ms for a million, on a small machine.
const longQueue = 100_000

// statsCache remembers the counts of a long queue for twenty times as long as counting
// took, so that it takes no more than a twentieth of the time.
type statsCache struct {
	long int64 // longQueue, but for tests

	mu    sync.Mutex
	stats brokers.Stats
	until time.Time
}

// Stats implements brokers.Broker. The counts of a queue of more than 100,000 tasks may be
// a second old.
func (b *Broker) Stats(ctx context.Context) (brokers.Stats, error) {
	b.stats.mu.Lock()
	s, until := b.stats.stats, b.stats.until
	b.stats.mu.Unlock()
	if time.Now().Before(until) {
		return s, b.wrap("count", b.check(ctx))
	}
	var took time.Duration
	err := b.db.Read(ctx, func(c *sqlitedb.Conn) (err error) {
		began := time.Now()
		s, err = count(c, micros(b.now()))
		took = time.Since(began)
		return err
	})
	if err != nil {
		return brokers.Stats{}, b.wrap("count", err)
	}
	if s.Ready+s.Scheduled+s.Leased+s.Dead > b.stats.long {
		b.stats.mu.Lock()
		b.stats.stats, b.stats.until = s, time.Now().Add(20*took)
		b.stats.mu.Unlock()
	}
	return s, nil
}

func count(c *sqlitedb.Conn, now int64) (s brokers.Stats, err error) {
	var ended, due int64
	for _, q := range []struct {
		into  *int64
		where string
		state int
	}{
		{&s.Ready, "at<=?", waiting},
		{&s.Scheduled, "at>?", waiting},
		{&s.Leased, "at>?", leased},
		{&ended, "at<=?", leased},
		{&s.Parked, "at>?", parked},
		{&due, "at<=?", parked},
	} {
		if *q.into, err = c.Int(`SELECT count(*) FROM tasks INDEXED BY tasks_by_state WHERE state=? AND `+q.where, q.state, now); err != nil {
			return s, err
		}
	}
	s.Ready += ended + due
	s.Scheduled += s.Parked
	if s.Dead, err = c.Int(`SELECT count(*) FROM tasks INDEXED BY tasks_by_state WHERE state=2`); err != nil {
		return s, err
	}
	since, err := pausedSince(c)
	s.Paused = !since.IsZero()
	return s, err
}

// Wait implements brokers.Waiter. Pushes through this process wake it at once, those of
// other processes by a notification of the operating system, and where there is none, it
// looks every second.
func (b *Broker) Wait(ctx context.Context) error {
	err := b.db.Wait(ctx, func(ctx context.Context) (due time.Duration, err error) {
		err = b.db.Read(ctx, func(c *sqlitedb.Conn) error {
			due = time.Hour
			if since, err := pausedSince(c); err != nil || !since.IsZero() {
				return err
			}
			now := micros(b.now())
			return c.Query(`SELECT * FROM (SELECT at FROM tasks WHERE state=0 ORDER BY at LIMIT 1)
				UNION ALL SELECT * FROM (SELECT at FROM tasks WHERE state=1 ORDER BY at LIMIT 1)
				UNION ALL SELECT * FROM (SELECT at FROM tasks WHERE state=3 ORDER BY at LIMIT 1)`,
				func(r sqlitedb.Row) (bool, error) {
					if ahead := r.Int(0) - now; ahead < due.Microseconds() {
						due = time.Duration(ahead) * time.Microsecond
					}
					return true, nil
				})
		})
		return due, err
	})
	return b.wrap("wait", err)
}
