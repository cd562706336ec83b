package mongodb

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

const (
	// maxBatch is the most tasks that are claimed at once; a larger Lease takes turns.
	maxBatch = 1000
	// maxRounds is how often a Lease tries again where other hosts were quicker.
	maxRounds = 3
)

// Lease implements brokers.Broker. It looks for tasks that are due, claims them by one
// update that names a new token and matches only what is still claimable, and reads back
// what bears the token: whatever another host has claimed in between is not there.
//
// One Lease of a handle works at a time: two would look at the same tasks, and one of them
// in vain. Hosts that get in each other's way like that look further down the queue.
func (b *Broker) Lease(ctx context.Context, max int, ttl time.Duration) ([]brokers.Delivery, error) {
	var ds []brokers.Delivery
	err := b.conn.Do(ctx, "lease tasks", func(ctx context.Context) error {
		select {
		case b.leasing <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-b.leasing }()
		if since, err := b.pausedSince(ctx); err != nil || !since.IsZero() {
			return err
		}
		for lost := 0; len(ds) < max && lost < maxRounds; {
			n := min(max-len(ds), maxBatch)
			cs, err := b.candidates(ctx, n<<lost)
			if err != nil {
				return err
			}
			if len(cs) == 0 {
				return nil
			}
			cs = sample(cs, n)
			got, err := b.claim(ctx, cs, ttl)
			if err != nil {
				return err
			}
			ds = append(ds, got...)
			if len(got) < len(cs) {
				lost++
			} else if len(cs) < n {
				return nil // there are no more
			}
		}
		return nil
	})
	if len(ds) > 0 {
		return ds, nil // an error after the first batch comes again at the next call
	}
	return nil, err
}

// sample returns n of the candidates at random, in their order.
func sample(cs []*document, n int) []*document {
	if len(cs) <= n {
		return cs
	}
	picked := mathrand.Perm(len(cs))[:n]
	slices.Sort(picked)
	out := make([]*document, n)
	for i, p := range picked {
		out[i] = cs[p]
	}
	return out
}

// candidates returns at most n tasks that look claimable, oldest due time first, with just
// the fields that a claim needs.
func (b *Broker) candidates(ctx context.Context, n int) ([]*document, error) {
	for range maxRounds {
		now, err := b.now(ctx)
		if err != nil {
			return nil, err
		}
		var ready, ended []*document
		var adopted int
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() (err error) {
			ready, err = b.find(gctx, b.tasks, isReady(now), byDue, n, bson.D{{Key: fDue, Value: 1}, {Key: fState, Value: 1}})
			return err
		})
		g.Go(func() (err error) {
			ended, err = b.find(gctx, b.tasks, isEnded(now), byDue, n,
				bson.D{{Key: fDue, Value: 1}, {Key: fState, Value: 1}, {Key: fToken, Value: 1}, {Key: fAttempts, Value: 1}})
			return err
		})
		if b.adoptionDue() {
			g.Go(func() (err error) {
				adopted, err = b.adopt(gctx)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		if adopted == 0 || len(ready)+len(ended) >= n {
			return merge(ready, ended, n), nil
		}
	}
	return nil, nil
}

// The orders of a listing. Between equal times the _id decides, which is a time as well.
var (
	byDue    = bson.D{{Key: fDue, Value: 1}, {Key: fID, Value: 1}}
	byBurial = bson.D{{Key: fBuried, Value: 1}, {Key: fID, Value: 1}}
)

// find returns at most n documents (0: all), sorted (nil: in any order) and read with a
// projection (nil: whole).
func (b *Broker) find(ctx context.Context, c *mongo.Collection, filter, sort bson.D, n int, projection bson.D) ([]*document, error) {
	o := options.Find().SetLimit(int64(n))
	if sort != nil {
		o.SetSort(sort).SetAllowDiskUse(true) // whole tasks may take part, beyond what a server sorts in memory
	}
	if projection != nil {
		o.SetProjection(projection)
	}
	cursor, err := c.Find(ctx, filter, o)
	if err != nil {
		return nil, err
	}
	var raws []bson.Raw
	if err := cursor.All(ctx, &raws); err != nil {
		return nil, err
	}
	docs := make([]*document, len(raws))
	for i, r := range raws {
		docs[i] = readDocument(r)
	}
	return docs, nil
}

// merge returns the first n of two lists that are each by due time.
func merge(a, b []*document, n int) []*document {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(a, b *document) int {
		return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.id, b.id))
	})
	return all[:min(n, len(all))]
}

// claim tries to lease the candidates and returns those that it got.
func (b *Broker) claim(ctx context.Context, cs []*document, ttl time.Duration) ([]brokers.Delivery, error) {
	token := rand.Text()
	start := b.local()
	now, _ := b.clock.at(start)
	set := bson.E{Key: "$set", Value: bson.D{{Key: fState, Value: leased}, {Key: fToken, Value: token}, {Key: fUntil, Value: date(now.Add(ttl))}}}
	unset := bson.E{Key: "$unset", Value: bson.D{{Key: fNote, Value: ""}}}

	var keys bson.A
	var fresh bson.A
	var models []mongo.WriteModel
	place := map[string]int{}
	for i, c := range cs {
		keys = append(keys, c.key)
		place[string(c.key.Value)] = i
		if c.state == waiting {
			fresh = append(fresh, c.key)
			continue
		}
		// Its lease has ended by itself, which is counted and remembered.
		models = append(models, mongo.NewUpdateOneModel().
			SetFilter(append(isEnded(now), bson.E{Key: fID, Value: c.key}, bson.E{Key: fToken, Value: c.token})).
			SetUpdate(bson.D{set, unset,
				{Key: "$inc", Value: bson.D{{Key: fLeases, Value: 1}, {Key: fLost, Value: 1}}},
				remember(event(now, c.attempts+1, "lost", "the lease ended by itself")),
			}))
	}
	if len(fresh) > 0 {
		models = append(models, mongo.NewUpdateManyModel().
			SetFilter(bson.D{oneOf(fID, fresh), {Key: fState, Value: waiting}}).
			SetUpdate(bson.D{set, unset, {Key: "$inc", Value: bson.D{{Key: fLeases, Value: 1}}}}))
	}
	res, err := b.tasks.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	if err != nil || res.MatchedCount == 0 {
		return nil, err
	}
	got, err := b.find(ctx, b.tasks, bson.D{oneOf(fID, keys), {Key: fToken, Value: token}}, nil, 0, nil)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(got, func(a, b *document) int { return place[string(a.key.Value)] - place[string(b.key.Value)] })
	ds := make([]brokers.Delivery, len(got))
	for i, d := range got {
		ds[i] = b.delivery(d, start.Add(ttl))
	}
	return ds, nil
}

func (b *Broker) delivery(d *document, until time.Time) brokers.Delivery {
	raw, t, err := b.decode(d)
	out := brokers.Delivery{
		Task: t, Token: leaseOf(d).String(), Attempt: d.attempts + 1, Sequence: d.leases,
		Lost: d.lost, Repeated: d.lost > 0, Until: until,
	}
	if err != nil {
		out.Raw, out.Unreadable = raw, err
	}
	if d.cancel != "" {
		c := brokers.DecodeCancellation(d.cancel)
		out.Cancel = &c
	}
	return out
}

// Extend implements brokers.Broker. Like Settle it looks first which leases are still held.
func (b *Broker) Extend(ctx context.Context, ttl time.Duration, ds []brokers.Delivery) (lost []task.ID, err error) {
	err = b.conn.Do(ctx, fmt.Sprintf("extend %d leases", len(ds)), func(ctx context.Context) error {
		lost = nil
		named := refs{}
		for _, d := range ds {
			if l, ok := parseLease(d.Token); ok {
				named.add(ref{l, d.Task.ID})
			}
		}
		found, err := b.held(ctx, named)
		if err != nil {
			return err
		}
		held := refs{}
		var order []ref
		for _, d := range ds {
			l, _ := parseLease(d.Token)
			r := ref{l, d.Task.ID}
			if found[r] == nil {
				lost = append(lost, d.Task.ID)
			} else if held.add(r) {
				order = append(order, r)
			}
		}
		if len(held) == 0 {
			return nil
		}
		now, err := b.now(ctx)
		if err != nil {
			return err
		}
		var models []mongo.WriteModel
		for _, filter := range held.filters() {
			models = append(models, mongo.NewUpdateManyModel().SetFilter(filter).
				SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: fUntil, Value: date(now.Add(ttl))}}}}))
		}
		res, err := b.tasks.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
		if err != nil {
			return err
		}
		if int(res.MatchedCount) == len(held) {
			return nil
		}
		// Some have changed hands since the look, or this host itself has settled them. The
		// others are as good as ever: whoever is told that a lease is lost kills its task.
		if found, err = b.held(ctx, held); err != nil {
			return err
		}
		for _, r := range order {
			if found[r] == nil {
				lost = append(lost, r.id)
			}
		}
		return nil
	})
	return lost, err
}
