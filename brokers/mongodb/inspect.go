package mongodb

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// Find implements brokers.Inspector.
func (b *Broker) Find(ctx context.Context, id task.ID) (item brokers.Item, err error) {
	err = b.conn.Do(ctx, fmt.Sprintf("find task %s", id), func(ctx context.Context) error {
		if _, err := b.adopt(ctx); err != nil {
			return err
		}
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
		item = b.item(docs[0], now)
		return nil
	})
	return item, err
}

// ofTasks matches the documents of tasks, foreign ones included.
func ofTasks(ids []task.ID) bson.D {
	in := make(bson.A, len(ids))
	for i, id := range ids {
		in[i] = id
	}
	return bson.D{{Key: "$or", Value: bson.A{bson.D{oneOf(fID, in)}, bson.D{oneOf(fTaskID, in)}}}}
}

// item shows a document to an operator.
func (b *Broker) item(d *document, now time.Time) brokers.Item {
	raw, t, _ := b.decode(d)
	it := brokers.Item{
		ID: d.id, Task: t, Raw: raw, Due: d.due, Attempt: d.attempts, Sequence: d.leases, Lost: d.lost, Note: d.note, History: d.history,
	}
	switch {
	case d.state == dead:
		it.State = brokers.StateDead
	case d.state == leased && d.until.After(now):
		it.State, it.Until = brokers.StateLeased, d.until
	case d.state == leased:
		it.State = brokers.StateReady
		it.Lost++ // ended, though nobody has leased it since
	case d.due.After(now):
		it.State = brokers.StateScheduled
	default:
		it.State = brokers.StateReady
	}
	return it
}

// List implements brokers.Inspector. A cursor names a time and how many documents of just
// that time have been listed.
func (b *Broker) List(ctx context.Context, state brokers.State, cursor string, limit int) (items []brokers.Item, next string, err error) {
	err = b.conn.Do(ctx, "list tasks", func(ctx context.Context) error {
		from, skip, err := parseCursor(cursor)
		if err != nil {
			return err
		}
		now, err := b.now(ctx)
		if err != nil {
			return err
		}
		sort, filters := byDue, []bson.D{}
		switch state {
		case brokers.StateReady:
			if _, err := b.adopt(ctx); err != nil {
				return err
			}
			filters = append(filters, isReady(now), isEnded(now))
		case brokers.StateScheduled:
			filters = append(filters, isScheduled(now))
		case brokers.StateLeased:
			filters = append(filters, isLeased(now))
		case brokers.StateDead:
			sort = byBurial
			filters = append(filters, isDead())
		default:
			return fmt.Errorf("unknown state %q; the states are ready, scheduled, leased and dead", string(state))
		}
		if limit < 1 {
			return nil
		}
		n := skip + limit + 1 // one more tells whether there is a next page
		var docs []*document
		for _, f := range filters {
			f = bson.D{{Key: "$and", Value: bson.A{f, after(sort[0].Key, from)}}}
			more, err := b.find(ctx, b.reports, f, sort, n, nil)
			if err != nil {
				return err
			}
			docs = merge(docs, more, n)
		}
		docs = docs[min(skip, len(docs)):]
		for _, d := range docs[:min(limit, len(docs))] {
			items = append(items, b.item(d, now))
			at := d.due
			if state == brokers.StateDead {
				at = d.buried
			}
			if !at.Equal(from) {
				from, skip = at, 0
			}
			skip++
		}
		if len(docs) > limit {
			next = fmt.Sprintf("%d.%d", from.UnixMilli(), skip)
		}
		return nil
	})
	return items, next, err
}

// after matches documents with a date in a field that is not before t. To name the least
// date there is lets the server use a sparse index.
func after(field string, t time.Time) bson.D {
	return bson.D{{Key: field, Value: bson.D{{Key: "$gte", Value: bson.NewDateTimeFromTime(t)}}}}
}

// parseCursor reads a cursor; the zero time is before all others.
func parseCursor(s string) (from time.Time, skip int, err error) {
	if s == "" {
		return time.Time{}, 0, nil
	}
	a, b, ok := strings.Cut(s, ".")
	ms, err := strconv.ParseInt(a, 10, 64)
	if ok && err == nil {
		skip, err = strconv.Atoi(b)
	}
	if !ok || err != nil || skip < 0 {
		return time.Time{}, 0, fmt.Errorf("%q is not a cursor that List returned", s)
	}
	return time.UnixMilli(ms), skip, nil
}

// Requeue implements brokers.Inspector.
func (b *Broker) Requeue(ctx context.Context, ids []task.ID) (missing []task.ID, err error) {
	err = b.conn.Do(ctx, fmt.Sprintf("requeue %d tasks", len(ids)), func(ctx context.Context) error {
		if len(ids) == 0 {
			return nil
		}
		now, err := b.now(ctx)
		if err != nil {
			return err
		}
		filter := bson.D{{Key: "$and", Value: bson.A{isDead(), ofTasks(ids)}}}
		if missing, err = b.missing(ctx, filter, ids); err != nil {
			return err
		}
		// Leases goes on: records are ordered by it.
		_, err = b.tasks.UpdateMany(ctx, filter, bson.D{
			{Key: "$set", Value: bson.D{{Key: fState, Value: waiting}, {Key: fDue, Value: bson.NewDateTimeFromTime(now)}}},
			{Key: "$unset", Value: bson.D{{Key: fAttempts, Value: ""}, {Key: fLost, Value: ""}, {Key: fBuried, Value: ""}}},
		})
		b.touch()
		return err
	})
	return missing, err
}

// Delete implements brokers.Inspector.
func (b *Broker) Delete(ctx context.Context, ids []task.ID) (missing []task.ID, err error) {
	err = b.conn.Do(ctx, fmt.Sprintf("delete %d tasks", len(ids)), func(ctx context.Context) error {
		if len(ids) == 0 {
			return nil
		}
		if _, err := b.adopt(ctx); err != nil {
			return err
		}
		now, err := b.now(ctx)
		if err != nil {
			return err
		}
		free := bson.D{{Key: "$or", Value: bson.A{bson.D{{Key: fState, Value: bson.D{{Key: "$ne", Value: leased}}}}, isEnded(now)}}}
		filter := bson.D{{Key: "$and", Value: bson.A{free, ofTasks(ids)}}}
		if missing, err = b.missing(ctx, filter, ids); err != nil {
			return err
		}
		_, err = b.tasks.DeleteMany(ctx, filter)
		return err
	})
	return missing, err
}

// missing returns those of the ids of which no document matches the filter.
func (b *Broker) missing(ctx context.Context, filter bson.D, ids []task.ID) ([]task.ID, error) {
	docs, err := b.find(ctx, b.tasks, filter, nil, 0, bson.D{{Key: fTaskID, Value: 1}})
	if err != nil {
		return nil, err
	}
	there := map[task.ID]bool{}
	for _, d := range docs {
		there[d.id] = true
	}
	var missing []task.ID
	for _, id := range ids {
		if !there[id] {
			missing = append(missing, id)
		}
	}
	return missing, nil
}
