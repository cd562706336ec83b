package mongodb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/mongoconn"
	"github.com/backplane/leptir/task"
)

const (
	// pauseEvery is how old what a handle knows of a pause may be.
	pauseEvery = 500 * time.Millisecond
	// cancelRounds is how often a Cancel looks again at a task that changes under its hands.
	cancelRounds = 20
)

// Cancel implements brokers.Canceller. It looks what the task does, and then changes it only
// if it still does that.
func (b *Broker) Cancel(ctx context.Context, id task.ID, c brokers.Cancellation) (item brokers.Item, err error) {
	err = b.conn.Do(ctx, fmt.Sprintf("cancel task %s", id), func(ctx context.Context) error {
		wish, err := c.Encode()
		if err != nil {
			return err
		}
		if _, err := b.adopt(ctx); err != nil {
			return err
		}
		for range cancelRounds {
			now, err := b.now(ctx)
			if err != nil {
				return err
			}
			docs, err := b.find(ctx, b.tasks, ofTasks([]task.ID{id}), nil, 1, nil)
			if err != nil {
				return err
			}
			if len(docs) == 0 {
				return brokers.ErrNotFound
			}
			d := docs[0]
			item = b.item(d, now)
			if done, err := b.cancel(ctx, d, item.State, now, wish); err != nil || done {
				return err
			}
		}
		return errors.New("it changes all the time; try again")
	})
	return item, err
}

// cancel removes a document whose task waits, or marks a leased one. It reports false if the
// task is not as it was seen any more.
func (b *Broker) cancel(ctx context.Context, d *document, state brokers.State, now time.Time, wish string) (bool, error) {
	same := bson.D{{Key: fID, Value: d.key}, {Key: fState, Value: d.state}}
	if d.state == leased {
		same = append(same, bson.E{Key: fToken, Value: d.token})
	}
	switch state {
	case brokers.StateDead:
		return true, nil
	case brokers.StateLeased:
		res, err := b.tasks.UpdateOne(ctx, same, bson.D{{Key: "$set", Value: bson.D{
			{Key: fCancelled, Value: bson.NewDateTimeFromTime(now)}, {Key: fCancel, Value: wish}}}})
		return err == nil && res.MatchedCount == 1, err
	}
	if d.state == leased { // its lease has ended, if nobody has extended it since
		same = append(same, bson.E{Key: fUntil, Value: bson.D{{Key: "$lte", Value: bson.NewDateTimeFromTime(now)}}})
	}
	res, err := b.tasks.DeleteOne(ctx, same)
	return err == nil && res.DeletedCount == 1, err
}

// Cancelled implements brokers.Canceller. It reads an index that is empty but for the tasks
// in question.
func (b *Broker) Cancelled(ctx context.Context, ds []brokers.Delivery) (marks map[task.ID]brokers.Cancellation, err error) {
	err = b.conn.Do(ctx, "look for cancelled tasks", func(ctx context.Context) error {
		marks = nil
		docs, err := b.find(ctx, b.tasks, after(fCancelled, time.Unix(0, 0)), nil, 0, bson.D{{Key: fTaskID, Value: 1}, {Key: fCancel, Value: 1}})
		if err != nil || len(docs) == 0 {
			return err
		}
		ours := make(map[task.ID]bool, len(ds))
		for _, d := range ds {
			ours[d.Task.ID] = true
		}
		marks = map[task.ID]brokers.Cancellation{}
		for _, d := range docs {
			if ours[d.id] {
				marks[d.id] = brokers.DecodeCancellation(d.cancel)
			}
		}
		return nil
	})
	return marks, err
}

// A pause is a document of the collection beside that of the tasks, {_id: "paused", since:
// DATE}. It is no document among the tasks, where others would take it for one.
const (
	pauseID = "paused"
	fSince  = "since"
)

// pausedSince returns since when the queue is paused, as of a moment ago.
func (b *Broker) pausedSince(ctx context.Context) (time.Time, error) {
	b.mu.Lock()
	since, looked := b.paused, b.pauseLooked
	b.mu.Unlock()
	if time.Since(looked) < pauseEvery {
		return since, nil
	}
	return b.lookForPause(ctx)
}

// lookForPause asks the server. A user who may not read the collection knows of no pause.
func (b *Broker) lookForPause(ctx context.Context) (since time.Time, err error) {
	raw, err := b.control.FindOne(ctx, bson.D{{Key: fID, Value: pauseID}}).Raw()
	switch {
	case errors.Is(err, mongo.ErrNoDocuments), mongoconn.Refused(err):
	case err != nil:
		return since, err
	default:
		if since = moment(raw, fSince); since.IsZero() {
			since = time.Unix(0, 0).UTC() // somebody has written something else there: paused it is
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused, b.pauseLooked = since, time.Now()
	return since, nil
}

// Pause implements brokers.Pauser.
func (b *Broker) Pause(ctx context.Context) error {
	return b.conn.Do(ctx, "pause", func(ctx context.Context) error {
		now, err := b.now(ctx)
		if err != nil {
			return err
		}
		_, err = b.control.UpdateOne(ctx, bson.D{{Key: fID, Value: pauseID}},
			bson.D{{Key: "$setOnInsert", Value: bson.D{{Key: fSince, Value: bson.NewDateTimeFromTime(now)}}}}, options.UpdateOne().SetUpsert(true))
		if err == nil {
			_, err = b.lookForPause(ctx)
		}
		return err
	})
}

// Resume implements brokers.Pauser.
func (b *Broker) Resume(ctx context.Context) error {
	return b.conn.Do(ctx, "resume", func(ctx context.Context) error {
		_, err := b.control.DeleteOne(ctx, bson.D{{Key: fID, Value: pauseID}})
		if err == nil {
			_, err = b.lookForPause(ctx)
		}
		b.touch()
		return err
	})
}

// Paused implements brokers.Pauser.
func (b *Broker) Paused(ctx context.Context) (since time.Time, err error) {
	err = b.conn.Do(ctx, "look for a pause", func(ctx context.Context) (err error) {
		since, err = b.lookForPause(ctx)
		return err
	})
	return since, err
}

// Purge implements brokers.Purger.
func (b *Broker) Purge(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = b.conn.Do(ctx, "purge dead letters", func(ctx context.Context) error {
		n = 0
		for n < limit {
			want := min(limit-n, maxBatch)
			old := bson.D{{Key: fState, Value: dead}, {Key: fBuried, Value: bson.D{{Key: "$lt", Value: bson.NewDateTimeFromTime(before)}}}}
			docs, err := b.find(ctx, b.tasks, old, byBurial, want, bson.D{{Key: fID, Value: 1}})
			if err != nil || len(docs) == 0 {
				return err
			}
			keys := make(bson.A, len(docs))
			for i, d := range docs {
				keys[i] = d.key
			}
			res, err := b.tasks.DeleteMany(ctx, append(bson.D{oneOf(fID, keys)}, old...))
			if err != nil {
				return err
			}
			n += int(res.DeletedCount)
			if len(docs) < want {
				return nil
			}
		}
		return nil
	})
	return n, err
}
