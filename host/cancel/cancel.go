// Package cancel owns what it means that a task was cancelled: what its record says, and how
// the wish is written down where the broker has no place for it. It knows nothing of how a
// task is stopped.
package cancel

import (
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/task"
)

// DefaultReason is the reason of a cancellation that says no other.
const DefaultReason = "cancelled by operator"

// WishType is the task type of a record that is no task's but somebody's wish that a task
// ends. Brokers that cannot keep such a wish (SQS) leave it to the meta storages.
const WishType = "leptir.cancel"

// WishID returns the id of the record that holds the wish that a task ends.
func WishID(id task.ID) task.ID { return WishType + "." + id }

// Wish returns the record that holds the wish that a task ends. A newer one replaces it.
func Wish(id task.ID, c brokers.Cancellation) (task.Record, error) {
	text, err := c.Encode()
	if err != nil {
		return task.Record{}, err
	}
	return task.Record{ID: WishID(id), Type: WishType, Status: task.Completed,
		Run: task.Run{Delivery: int(c.At.UnixMicro()), Ended: c.At.UTC(), Note: text}}, nil
}

// Wished returns the wish in a record if it is about the task: one that is older than the
// task's push was about an earlier task of that id.
func Wished(rec task.Record, t *task.Task) (brokers.Cancellation, bool) {
	if rec.Type != WishType || rec.ID != WishID(t.ID) {
		return brokers.Cancellation{}, false
	}
	c := brokers.DecodeCancellation(rec.Run.Note)
	return c, !t.PushedAt.After(c.At)
}

// Conclude makes a record that of a cancelled task that has ended: an error, whose text and
// exit reason tell it from others. What the record knows of a run stays.
func Conclude(rec *task.Record, c brokers.Cancellation, now time.Time) {
	reason := c.Reason
	if reason == "" {
		reason = DefaultReason
	}
	said := rec.Run.Error
	rec.Status, rec.RetC = task.Completed, task.Error
	rec.Run.Error, rec.Run.Ended, rec.Run.Retry = reason, now.UTC(), time.Time{}
	if rec.Run.Exit == nil {
		rec.Run.Exit = &task.Exit{}
		if said != "" {
			rec.Run.Note = said // what the task made of it
		}
	}
	rec.Run.Exit.Reason = string(process.ReasonCancelled)
	rec.RespM = reason
}

// Was reports whether the record is that of a task that was cancelled.
func Was(rec task.Record) bool {
	return rec.Run.Exit != nil && rec.Run.Exit.Reason == string(process.ReasonCancelled) && !rec.Run.Ended.IsZero()
}

// Removed returns the record of a task that was removed from its broker while it waited. was
// is the record that it had by then, if any.
func Removed(it brokers.Item, was task.Record, c brokers.Cancellation, now time.Time) task.Record {
	order := task.DeliveryOrder(it.Task.PushedAt, it.Sequence)
	rec := was
	if rec.ID != it.ID || rec.Run.Delivery < order {
		rec = task.Record{ID: it.ID, Type: it.Task.Type, Run: task.Run{Attempt: it.Attempt, Delivery: order}}
	}
	rec.Run.Exit, rec.Run.Note = nil, ""
	rec.Run.Error = ""
	Conclude(&rec, c, now)
	rec.Run.Note = "it was removed from its queue while it waited"
	return rec
}
