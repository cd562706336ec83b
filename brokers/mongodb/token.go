package mongodb

import (
	"context"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/backplane/leptir/task"
)

// lease names a lease, and with it how its documents are found: a foreign document's _id is
// not its task's id.
type lease struct {
	token   string // one for all that was claimed at once
	foreign bool
}

// foreignMark ends the token of a delivery whose document is a foreign one.
const foreignMark = "+"

func leaseOf(d *document) lease { return lease{d.token, d.foreign} }

// String returns the lease as the token of a delivery.
func (l lease) String() string {
	if l.foreign {
		return l.token + foreignMark
	}
	return l.token
}

// parseLease reads the token of a delivery; ok is false for what cannot be one.
func parseLease(s string) (l lease, ok bool) {
	l.token, l.foreign = strings.CutSuffix(s, foreignMark)
	for _, c := range []byte(l.token) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return lease{}, false
		}
	}
	return l, l.token != ""
}

// ref is one leased task.
type ref struct {
	lease lease
	id    task.ID
}

// refs are leased tasks, each once.
type refs map[ref]bool

// add reports whether the task was not among them.
func (rs refs) add(r ref) bool {
	if rs[r] {
		return false
	}
	rs[r] = true
	return true
}

// ids returns the ids of the tasks by the field that holds them.
func (rs refs) ids() map[string]bson.A {
	ids := map[string]bson.A{}
	for r := range rs {
		field := fID
		if r.lease.foreign {
			field = fTaskID
		}
		ids[field] = append(ids[field], r.id)
	}
	return ids
}

// filters match, together, the documents of the tasks whose leases are still the named ones.
//
// They ask for any of the ids with any of the tokens. That would also match a task that is
// named by an old token and leased anew under another that is named too; so they are only
// for tasks whose lease has been looked at after all of the tokens were known.
func (rs refs) filters() []bson.D {
	var tokens bson.A
	seen := map[string]bool{}
	for r := range rs {
		if !seen[r.lease.token] {
			seen[r.lease.token] = true
			tokens = append(tokens, r.lease.token)
		}
	}
	var filters []bson.D
	for field, ids := range rs.ids() {
		filters = append(filters, bson.D{oneOf(field, ids), oneOf(fToken, tokens)})
	}
	return filters
}

// oneOf is a condition for a filter.
func oneOf(field string, values bson.A) bson.E {
	return bson.E{Key: field, Value: bson.D{{Key: "$in", Value: values}}}
}

// held returns those of the tasks whose lease is still the named one.
func (b *Broker) held(ctx context.Context, rs refs) (map[ref]*document, error) {
	docs, err := b.lookUp(ctx, rs)
	held := map[ref]*document{}
	for _, d := range docs {
		if r := (ref{leaseOf(d), d.id}); rs[r] {
			held[r] = d
		}
	}
	return held, err
}

// lookUp returns the documents of the tasks, whoever holds them now, without their messages.
func (b *Broker) lookUp(ctx context.Context, rs refs) ([]*document, error) {
	var all []*document
	for field, ids := range rs.ids() {
		docs, err := b.find(ctx, b.tasks, bson.D{oneOf(field, ids)}, nil, 0,
			bson.D{{Key: fTaskID, Value: 1}, {Key: fToken, Value: 1}, {Key: fAttempts, Value: 1}})
		if err != nil {
			return nil, err
		}
		all = append(all, docs...)
	}
	return all, nil
}

// missed names the tasks whose lease was lost in the moment between a look and the change
// after it, of which the server tells only how many there are. Those that bear another token
// by now are surely among them. The others were changed by somebody with the same token (the
// same host, twice at once), and which of two equal changes came first makes no difference.
func (b *Broker) missed(ctx context.Context, rs []ref, n int) []task.ID {
	all := refs{}
	for _, r := range rs {
		all.add(r)
	}
	docs, err := b.lookUp(ctx, all)
	if err != nil {
		b.log.Warn("cannot tell for certain which leases were lost", "tasks", n, "err", err)
	}
	other := map[task.ID]bool{}
	for _, d := range docs {
		other[d.id] = d.token != "" && !all[ref{leaseOf(d), d.id}]
	}
	var lost, rest []task.ID
	for _, r := range rs {
		if other[r.id] {
			lost = append(lost, r.id)
		} else {
			rest = append(rest, r.id)
		}
	}
	if more := n - len(lost); more > 0 {
		lost = append(lost, rest[:min(more, len(rest))]...)
	}
	return lost
}
