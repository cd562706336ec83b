package mongodb

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	// maxIdle is how long Wait trusts the server to tell of new tasks. It is bounded because
	// a lease that another host takes and loses in the meantime is told by nobody.
	maxIdle = 5 * time.Second
	// errorRest is how long Wait rests where the server cannot be asked, so that those who
	// call it in a loop do not spin.
	errorRest = 500 * time.Millisecond
)

// Wait implements brokers.Waiter. On a replica set a change stream tells of new tasks; else
// it returns after the poll interval at the latest. Either way it returns when the next task
// comes due by the clock, and when this handle itself has made one ready.
func (b *Broker) Wait(ctx context.Context) error {
	for {
		idle := b.poll
		if b.watch(ctx) {
			idle = max(idle, maxIdle)
		}
		wake := b.woken() // before the look, so that nothing falls between
		next, paused := time.Duration(0), false
		err := b.conn.Do(ctx, "look for the next task", func(ctx context.Context) error {
			since, err := b.pausedSince(ctx)
			if paused = !since.IsZero(); err != nil || paused {
				next = pauseEvery
				return err
			}
			next, err = b.nextDue(ctx, idle)
			return err
		})
		switch {
		case b.conn.Closed() != nil:
			return b.conn.Closed()
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			next = errorRest // the next Lease says what is wrong
		case next <= 0:
			return nil
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-wake:
		case <-b.conn.Closing():
		case <-ctx.Done():
		}
		timer.Stop()
		switch {
		case b.conn.Closed() != nil:
			return b.conn.Closed()
		case ctx.Err() != nil:
			return ctx.Err()
		case !paused:
			return nil
		}
	}
}

// touch wakes those who wait on this handle: a task may be due.
func (b *Broker) touch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.wake)
	b.wake = make(chan struct{})
}

// woken returns the channel that touch closes.
func (b *Broker) woken() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wake
}

// nextDue returns how long it is until a task becomes due by the clock alone, at most the
// given time.
func (b *Broker) nextDue(ctx context.Context, most time.Duration) (time.Duration, error) {
	now, err := b.now(ctx)
	if err != nil {
		return 0, err
	}
	if n, err := b.adopt(ctx); err != nil || n > 0 {
		return 0, err
	}
	first := func(filter bson.D, field string) error {
		docs, err := b.find(ctx, b.tasks, filter, bson.D{{Key: field, Value: 1}}, 1, bson.D{{Key: field, Value: 1}})
		for _, d := range docs {
			at := d.due
			if field == fUntil {
				at = d.until
			}
			most = min(most, at.Sub(now))
		}
		return err
	}
	if err := first(bson.D{{Key: fState, Value: waiting}}, fDue); err != nil {
		return 0, err
	}
	return most, first(after(fUntil, time.Unix(0, 0)), fUntil)
}
