package mongodb

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

const (
	// maxIdle is how long Wait trusts the server to tell of new tasks. It is bounded because
	// a lease that another host takes and loses in the meantime is told by nobody.
	maxIdle = 5 * time.Second
	// streamRest is how long change streams are left alone after one has failed.
	streamRest = time.Minute
	// errorRest is how long Wait rests where the server cannot be asked, so that those who
	// call it in a loop do not spin.
	errorRest = 500 * time.Millisecond
	// openLimit and closeLimit bound the opening and closing of a change stream.
	openLimit  = 5 * time.Second
	closeLimit = time.Second
)

// Wait implements brokers.Waiter. On a replica set a change stream tells of new tasks; else
// it returns after the poll interval at the latest. Either way it returns when the next task
// comes due by the clock, and when this handle itself has made one ready.
func (b *Broker) Wait(ctx context.Context) error {
	wake := b.woken()
	idle := b.poll
	news, stop := b.watch(ctx) // before the look, so that nothing falls between
	defer stop()
	if news != nil {
		idle = max(idle, maxIdle)
	}
	next := time.Duration(0)
	err := b.conn.Do(ctx, "look for the next task", func(ctx context.Context) (err error) {
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
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-news:
	case <-b.conn.Closing():
		return b.conn.Closed()
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// woken returns the channel that is closed when this handle makes a task ready.
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

// readyEvents are the changes after which a task may be ready: it is new, or was given back.
var readyEvents = mongo.Pipeline{
	{{Key: "$match", Value: bson.D{{Key: "$or", Value: bson.A{
		bson.D{{Key: "operationType", Value: bson.D{{Key: "$in", Value: bson.A{"insert", "replace"}}}}},
		bson.D{{Key: "updateDescription.updatedFields." + fState, Value: waiting}},
	}}}}},
	{{Key: "$project", Value: bson.D{{Key: "operationType", Value: 1}}}}, // not the whole task
}

// watch opens a change stream and returns a channel that is closed at its first event, or nil
// where the server has no change streams. stop ends it, and must be called.
func (b *Broker) watch(ctx context.Context) (news <-chan struct{}, stop func()) {
	if !b.clock.hasStreams() || b.streamsRest() {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	event, ended := make(chan struct{}), make(chan struct{})
	opened := make(chan error, 1)
	go func() {
		defer close(ended)
		defer close(event)
		err := b.conn.DoWithin(ctx, 0, "watch for tasks", func(ctx context.Context) error {
			opening, done := context.WithTimeout(ctx, openLimit)
			stream, err := b.tasks.Watch(opening, readyEvents)
			done()
			opened <- err
			if err != nil {
				return err
			}
			defer func() {
				bye, done := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
				defer done()
				_ = stream.Close(bye)
			}()
			stream.Next(ctx)
			return stream.Err()
		})
		if err != nil && ctx.Err() == nil && b.conn.Closed() == nil {
			b.restStreams(err)
		}
	}()
	stop = func() { cancel(); <-ended }
	select {
	case err := <-opened:
		if err == nil {
			return event, stop
		}
	case <-ended: // the connection is closed
	}
	stop()
	return nil, func() {}
}

func (b *Broker) streamsRest() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.noStreamsTo)
}

// restStreams leaves change streams alone for a while.
func (b *Broker) restStreams(err error) {
	b.log.Debug("no change stream; looking for new tasks now and then instead", "retry_in", streamRest, "err", err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noStreamsTo = time.Now().Add(streamRest)
}
