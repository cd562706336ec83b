package mongodb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/mongoconn"
	"github.com/backplane/leptir/task"
)

// Broker is one handle on a queue. It implements brokers.Broker and all its optional
// abilities, and is safe for concurrent use.
type Broker struct {
	conn    *mongoconn.Conn
	tasks   *mongo.Collection // on the primary
	reports *mongo.Collection // where the settings' readPreference says
	control *mongo.Collection // whether the queue is paused
	log     *slog.Logger
	aliases map[string]string
	poll    time.Duration
	clock   clock
	local   func() time.Time // this machine's clock
	leasing chan struct{}    // holds one value while a Lease is at work

	mu          sync.Mutex
	wake        chan struct{} // closed, and replaced, when a task may be due
	looked      time.Time     // for foreign documents, by a Lease
	waited      time.Time     // when Wait was last called
	stream      *stream       // nil while there is none
	noStreamsTo time.Time     // change streams have failed and are not tried before
	paused      time.Time     // since when the queue is, as of pauseLooked
	pauseLooked time.Time
}

var (
	_ brokers.Broker    = (*Broker)(nil)
	_ brokers.Waiter    = (*Broker)(nil)
	_ brokers.Inspector = (*Broker)(nil)
	_ brokers.Canceller = (*Broker)(nil)
	_ brokers.Pauser    = (*Broker)(nil)
	_ brokers.Purger    = (*Broker)(nil)
	_ brokers.Clocked   = (*Broker)(nil)
)

// indexes returns what the queries of this package go by. The sparse ones hold only the few
// documents that have their field, and cost nothing for the others. The result is the
// caller's: the driver writes into it.
func indexes() []mongo.IndexModel {
	sparse := func(field string) mongo.IndexModel {
		return mongo.IndexModel{Keys: bson.D{{Key: field, Value: 1}}, Options: options.Index().SetSparse(true)}
	}
	return []mongo.IndexModel{
		{Keys: bson.D{{Key: fState, Value: 1}, {Key: fDue, Value: 1}, {Key: fID, Value: 1}}},
		sparse(fUntil), sparse(fBuried), sparse(fTaskID), sparse(fCancelled),
	}
}

// indexLimit bounds the making of indexes, which takes its time where many documents are
// there already.
const indexLimit = 10 * time.Minute

// prepare reads the server's clock and makes the indexes. A server that refuses an index
// (a user without the right to make one, or a server that does not know its kind) is used
// without it, slower.
func (b *Broker) prepare(ctx context.Context) error {
	if err := b.conn.Do(ctx, "read the server's clock", b.readClock); err != nil {
		return err
	}
	return b.conn.DoWithin(ctx, indexLimit, "make indexes", func(ctx context.Context) error {
		for _, index := range indexes() {
			_, err := b.tasks.Indexes().CreateOne(ctx, index)
			if mongoconn.Refused(err) {
				b.log.Warn("the MongoDB server refuses an index; the queue works without it, slower",
					"collection", b.tasks.Name(), "index", fmt.Sprint(index.Keys), "err", err)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
}

// Close ends running calls and disconnects; the tasks stay in the queue.
func (b *Broker) Close() error { return b.conn.Close() }

// Push implements brokers.Broker.
func (b *Broker) Push(ctx context.Context, tasks []task.Task) error {
	what := fmt.Sprintf("push %d tasks", len(tasks))
	if len(tasks) == 1 {
		what = fmt.Sprintf("push task %s", tasks[0].ID)
	}
	return b.conn.Do(ctx, what, func(ctx context.Context) error {
		if len(tasks) == 0 {
			return nil
		}
		now, err := b.now(ctx)
		if err != nil {
			return err
		}
		docs := make([]bson.D, len(tasks))
		for i := range tasks {
			if docs[i], err = newDocument(&tasks[i], now); err != nil {
				return err
			}
		}
		_, err = b.tasks.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
		if err != nil && !onlyDuplicates(err) {
			return err
		}
		b.touch()
		return nil
	})
}

// onlyDuplicates reports whether all that has failed of an unordered insertion are documents
// whose _id is there already.
func onlyDuplicates(err error) bool {
	e, ok := errors.AsType[mongo.BulkWriteException](err)
	if !ok || e.WriteConcernError != nil {
		return false
	}
	for _, w := range e.WriteErrors {
		if !mongo.IsDuplicateKeyError(w) {
			return false
		}
	}
	return true
}

// Stats implements brokers.Broker.
func (b *Broker) Stats(ctx context.Context) (s brokers.Stats, err error) {
	var ended int64
	err = b.conn.Do(ctx, "count tasks", func(ctx context.Context) error {
		if _, err := b.adopt(ctx); err != nil {
			return err
		}
		now, err := b.now(ctx)
		if err != nil {
			return err
		}
		g, ctx := errgroup.WithContext(ctx)
		count := func(n *int64, filter bson.D) {
			g.Go(func() (err error) {
				*n, err = b.reports.CountDocuments(ctx, filter)
				return err
			})
		}
		count(&s.Ready, isReady(now))
		count(&ended, isEnded(now))
		count(&s.Scheduled, isScheduled(now))
		count(&s.Parked, append(isScheduled(now), bson.E{Key: fNote, Value: bson.D{{Key: "$exists", Value: true}}}))
		count(&s.Leased, isLeased(now))
		count(&s.Dead, isDead())
		g.Go(func() error {
			since, err := b.lookForPause(ctx)
			s.Paused = !since.IsZero()
			return err
		})
		return g.Wait()
	})
	s.Ready += ended
	return s, err
}

// The filters of the states as brokers.State means them. A task whose lease has ended is
// ready, which isReady leaves to isEnded: no index serves both.
func isReady(now time.Time) bson.D     { return stateAnd(waiting, fDue, "$lte", now) }
func isScheduled(now time.Time) bson.D { return stateAnd(waiting, fDue, "$gt", now) }
func isLeased(now time.Time) bson.D    { return stateAnd(leased, fUntil, "$gt", now) }
func isEnded(now time.Time) bson.D     { return stateAnd(leased, fUntil, "$lte", now) }
func isDead() bson.D                   { return bson.D{{Key: fState, Value: dead}} }

func stateAnd(state, field, operator string, now time.Time) bson.D {
	return bson.D{{Key: fState, Value: state}, {Key: field, Value: bson.D{{Key: operator, Value: bson.NewDateTimeFromTime(now)}}}}
}
