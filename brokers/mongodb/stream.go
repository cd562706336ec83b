package mongodb

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	// streamIdle is how long a change stream is read although nobody waits. It is longer than
	// a Wait takes.
	streamIdle = 2 * maxIdle
	// streamRest is how long change streams are left alone after one has failed.
	streamRest = time.Minute
	// streamAwait is how long the server holds a question for events back while it has none.
	streamAwait = time.Second
	// streamOpen and streamClose bound the opening and closing of a change stream.
	streamOpen  = 5 * time.Second
	streamClose = time.Second
)

// stream is the change stream of a broker. There is one while anybody waits, read by a
// goroutine that ends with the broker's connection.
type stream struct {
	ready chan struct{} // closed when it is open or has failed
	open  bool          // read after ready
}

// readyEvents are the changes after which a task may be ready: it is new, or was given back.
var readyEvents = mongo.Pipeline{
	{{Key: "$match", Value: bson.D{{Key: "$or", Value: bson.A{
		bson.D{{Key: "operationType", Value: bson.D{{Key: "$in", Value: bson.A{"insert", "replace"}}}}},
		bson.D{{Key: "updateDescription.updatedFields." + fState, Value: waiting}},
	}}}}},
	{{Key: "$project", Value: bson.D{{Key: "operationType", Value: 1}}}}, // not the whole task
}

// watch sees to it that a change stream touches the broker at every event. It reports whether
// one does, which is not so where the server has none.
func (b *Broker) watch(ctx context.Context) bool {
	if !b.clock.hasStreams() {
		return false
	}
	b.mu.Lock()
	b.waited = time.Now()
	s := b.stream
	if s == nil {
		if time.Now().Before(b.noStreamsTo) {
			b.mu.Unlock()
			return false
		}
		s = &stream{ready: make(chan struct{})}
		b.stream = s
		go b.follow(s)
	}
	b.mu.Unlock()
	select {
	case <-s.ready:
		return s.open
	case <-ctx.Done():
		return false
	}
}

// follow opens the change stream and reads it for as long as anybody waits.
func (b *Broker) follow(s *stream) {
	err := b.conn.DoWithin(context.Background(), 0, "watch for tasks", func(ctx context.Context) error {
		opening, done := context.WithTimeout(ctx, streamOpen)
		cs, err := b.tasks.Watch(opening, readyEvents, options.ChangeStream().SetMaxAwaitTime(streamAwait))
		done()
		if err != nil {
			return err
		}
		s.open = true
		close(s.ready)
		defer func() {
			bye, done := context.WithTimeout(context.WithoutCancel(ctx), streamClose)
			defer done()
			_ = cs.Close(bye)
		}()
		for b.wanted() {
			if cs.TryNext(ctx) {
				b.touch()
			} else if err := cs.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && b.conn.Closed() == nil {
		b.log.Debug("no change stream; looking for new tasks now and then instead", "retry_in", streamRest, "err", err)
	}
	b.mu.Lock()
	b.stream = nil
	if err != nil {
		b.noStreamsTo = time.Now().Add(streamRest)
	}
	b.mu.Unlock()
	if !s.open {
		close(s.ready)
	}
	b.touch() // those who trust in the stream look again
}

// wanted reports whether anybody has waited lately.
func (b *Broker) wanted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Since(b.waited) < streamIdle
}
