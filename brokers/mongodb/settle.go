package mongodb

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// Settle implements brokers.Broker. It looks first which leases are still held, because the
// server tells afterwards only how many documents were changed; each change then asks for
// the token once more.
func (b *Broker) Settle(ctx context.Context, ss []brokers.Settlement) (lost []task.ID, err error) {
	err = b.conn.Do(ctx, fmt.Sprintf("settle %d tasks", len(ss)), func(ctx context.Context) error {
		lost = nil
		all := refs{}
		known := make([]brokers.Settlement, 0, len(ss))
		for _, s := range ss {
			if s.Verdict < brokers.Done || s.Verdict > brokers.Bury {
				return fmt.Errorf("task %s: %d is not a verdict", s.ID, s.Verdict)
			}
			if l, ok := parseLease(s.Token); ok && all.add(ref{l, s.ID}) {
				known = append(known, s)
			} else { // no lease, or named for the second time
				lost = append(lost, s.ID)
			}
		}
		if len(known) == 0 {
			return nil
		}
		held, err := b.held(ctx, all)
		if err != nil {
			return err
		}
		now, err := b.now(ctx)
		if err != nil {
			return err
		}
		var changes changes
		for _, s := range known {
			l, _ := parseLease(s.Token)
			r := ref{l, s.ID}
			if d := held[r]; d != nil {
				changes.add(r, s, d.attempts)
			} else {
				lost = append(lost, s.ID)
			}
		}
		if len(changes.groups) == 0 {
			return nil
		}
		res, err := b.tasks.BulkWrite(ctx, changes.models(now), options.BulkWrite().SetOrdered(false))
		if err != nil {
			return err
		}
		if changes.ready {
			b.touch()
		}
		if missed := len(changes.refs) - int(res.MatchedCount+res.DeletedCount); missed > 0 {
			lost = append(lost, b.missed(ctx, changes.refs, missed)...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// changes are settlements, those that change their documents alike in one group.
type changes struct {
	groups []*change
	index  map[changeKey]*change
	refs   []ref
	ready  bool // some make tasks ready
}

// changeKey is what the documents of one change have in common.
type changeKey struct {
	verdict brokers.Verdict
	at      time.Time
	reason  string
	attempt int // the one that has ended, where it is remembered
}

type change struct {
	changeKey
	refs refs
}

// add adds the settlement of a task that has had so many attempts before.
func (c *changes) add(r ref, s brokers.Settlement, attempts int) {
	key := changeKey{verdict: s.Verdict}
	switch {
	case s.Verdict == brokers.Retry:
		key.at, key.reason, key.attempt = s.At, s.Reason, attempts+1
	case s.Verdict == brokers.Bury:
		key.reason, key.attempt = s.Reason, attempts+1
	case s.Verdict == brokers.Release && !s.At.IsZero():
		key.at, key.reason = s.At, s.Reason
	}
	g := c.index[key]
	if g == nil {
		if c.index == nil {
			c.index = map[changeKey]*change{}
		}
		g = &change{key, refs{}}
		c.index[key] = g
		c.groups = append(c.groups, g)
	}
	g.refs.add(r)
	c.refs = append(c.refs, r)
	c.ready = c.ready || s.Verdict == brokers.Retry || s.Verdict == brokers.Release
}

// models returns the changes as the driver wants them.
func (c *changes) models(now time.Time) []mongo.WriteModel {
	var models []mongo.WriteModel
	for _, g := range c.groups {
		for _, filter := range g.refs.filters() {
			if g.verdict == brokers.Done {
				models = append(models, mongo.NewDeleteManyModel().SetFilter(filter))
			} else {
				models = append(models, mongo.NewUpdateManyModel().SetFilter(filter).SetUpdate(g.update(now)))
			}
		}
	}
	return models
}

// update returns what the change does to a document that stays.
func (g *change) update(now time.Time) bson.D {
	set := bson.D{{Key: fState, Value: waiting}}
	unset := bson.D{{Key: fToken, Value: ""}, {Key: fUntil, Value: ""}}
	attempt := bson.E{Key: "$inc", Value: bson.D{{Key: fAttempts, Value: 1}}}
	switch g.verdict {
	case brokers.Bury:
		set = bson.D{{Key: fState, Value: dead}, {Key: fBuried, Value: bson.NewDateTimeFromTime(now)}}
		unset = append(unset, bson.E{Key: fCancelled, Value: ""}, bson.E{Key: fCancel, Value: ""})
		return bson.D{{Key: "$set", Value: set}, {Key: "$unset", Value: unset}, attempt,
			remember(event(now, g.attempt, "bury", g.reason))}
	case brokers.Retry:
		due := bson.NewDateTimeFromTime(now)
		if !g.at.IsZero() {
			due = date(g.at)
		}
		set = append(set, bson.E{Key: fDue, Value: due})
		return bson.D{{Key: "$set", Value: set}, {Key: "$unset", Value: unset}, attempt,
			remember(event(now, g.attempt, "retry", g.reason))}
	}
	if !g.at.IsZero() { // parked
		set = append(set, bson.E{Key: fDue, Value: date(g.at)})
		if g.reason != "" {
			set = append(set, bson.E{Key: fNote, Value: clip(g.reason)})
		}
	}
	return bson.D{{Key: "$set", Value: set}, {Key: "$unset", Value: unset}}
}
