package sqs

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// sweepTime is how often the held leases are looked through for ended ones.
const sweepTime = 10 * time.Second

// maxBarren is how many requests in a row may bring nothing to lease before Lease returns
// without: a host should not wait while a heap of tasks that are not due is put away.
const maxBarren = 4

// visibility returns the seconds for which SQS is to hide a message for a lease of ttl.
func visibility(ttl time.Duration) (int32, error) {
	if ttl > maxHidden {
		return 0, fmt.Errorf("a lease of %v: SQS hides a message for %v at most", ttl, maxHidden)
	}
	return max(1, seconds(ttl)), nil
}

// Lease implements brokers.Broker. One request of SQS brings ten tasks at most; for more,
// several are sent. An empty queue costs one request, and none while a long poll is under
// way: that one would have the task.
func (b *Broker) Lease(ctx context.Context, max int, ttl time.Duration) ([]brokers.Delivery, error) {
	if err := b.usable(ctx); err != nil {
		return nil, b.fail(err)
	}
	if max < 1 {
		return nil, nil
	}
	hide, err := visibility(ttl)
	if err != nil {
		return nil, b.fail(err)
	}
	if b.handsOut() && !b.pausedSince(ctx).IsZero() {
		return nil, nil
	}
	ms, enough := b.takeBuffered(max, ttl)
	defer b.leased()
	ms = b.prolong(ctx, ms, hide)
	if len(ms) < max && !enough {
		var more []*message
		if more, err = b.receiveUpTo(ctx, max-len(ms), hide); err != nil && len(ms)+len(more) == 0 {
			return nil, b.fail(err)
		}
		ms = append(ms, more...)
	}
	// SQS's order is its own; within what it has brought the oldest comes first.
	slices.SortStableFunc(ms, func(a, b *message) int { return a.task.Due().Compare(b.task.Due()) })
	ds, twins := b.hold(ms)
	b.postpone(ctx, twins)
	return ds, nil
}

// receiveUpTo receives at most n messages that can be leased. What it has received before
// an error is returned with it.
func (b *Broker) receiveUpTo(ctx context.Context, n int, hide int32) (ready []*message, err error) {
	requests := 1
	for barren := 0; n > len(ready) && barren < maxBarren; {
		var (
			mu    sync.Mutex
			got   []*message
			want  = min(n-len(ready), requests*batch)
			group errgroup.Group
		)
		for left := want; left > 0; left -= batch {
			group.Go(func() error {
				began := time.Now()
				in, err := b.main.receive(ctx, min(left, batch), hide, 0)
				mu.Lock()
				defer mu.Unlock()
				for _, m := range in {
					got = append(got, b.read(m, began, hide))
				}
				return err
			})
		}
		err = group.Wait()
		admitted := b.admit(ctx, got)
		ready = append(ready, admitted...)
		// A short poll asks only some of SQS's servers: a few less than asked for do not
		// mean that there are no more, half of it does.
		if err != nil || len(got)*2 < want {
			return ready, err
		}
		requests = maxParallel
		if barren++; len(admitted) > 0 {
			barren = 0
		}
	}
	return ready, nil
}

// admit returns the messages that can be leased, and sees to the others: those that are
// not due, those that were settled already, and dead letters that have no queue.
func (b *Broker) admit(ctx context.Context, ms []*message) (ready []*message) {
	var early, letters, ghosts []*message
	b.mu.Lock()
	for _, m := range ms {
		switch {
		case b.settled.ids[m.messageID]:
			ghosts = append(ghosts, m)
		case m.state.Dead:
			letters = append(letters, m)
		case m.early():
			early = append(early, m)
		default:
			if !m.state.Buried.IsZero() { // an operator has moved a dead letter back
				m.state = m.state.anew()
			}
			ready = append(ready, m)
		}
	}
	b.mu.Unlock()
	b.drop(ctx, ghosts)
	b.park(ctx, early)
	b.parkLetters(ctx, letters)
	return ready
}

// hold makes leases of messages. What it cannot make one of comes back as twins: other
// copies of tasks that this broker holds. SQS makes some, and so do producers who push a
// task twice; were they delivered, the task would run twice at the same time.
func (b *Broker) hold(ms []*message) (ds []brokers.Delivery, twins []*message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep()
	for _, m := range ms {
		if l := b.byTask[m.task.ID]; l != nil && l.valid() && !l.followedBy(m) {
			if l.messageID == m.messageID {
				// The same message once more: SQS may do that. Only its latest receipt
				// handle is good for anything.
				l.handle, l.received, l.until = m.handle, m.received, m.until
				l.receives = max(l.receives, m.receives)
				continue
			}
			twins = append(twins, m)
			continue
		}
		b.tokens++
		l := &lease{message: m, token: b.prefix + "." + strconv.FormatUint(b.tokens, 10)}
		b.held[l.token], b.byTask[m.task.ID] = l, l
		ds = append(ds, m.delivery(l.token))
	}
	return ds, twins
}

// followedBy reports whether m may be the copy that the settlement of l, which is still
// under way, has sent. b.mu is held.
func (l *lease) followedBy(m *message) bool {
	return l.settling && m.state.Sequence >= l.sequence()
}

// valid reports whether the lease has not ended. b.mu is held.
func (l *lease) valid() bool { return time.Now().Before(l.until) }

// find returns the lease of that name if it has not ended. b.mu is held.
func (b *Broker) find(id task.ID, token string) *lease {
	l := b.held[token]
	if l == nil || l.task.ID != id || !l.valid() {
		return nil
	}
	return l
}

// forget removes a lease. b.mu is held.
func (b *Broker) forget(l *lease) {
	delete(b.held, l.token)
	if b.byTask[l.task.ID] == l {
		delete(b.byTask, l.task.ID)
	}
}

// sweep forgets leases that have ended, so that a host that never settles them does not
// fill the memory. b.mu is held.
func (b *Broker) sweep() {
	if time.Since(b.swept) < sweepTime {
		return
	}
	b.swept = time.Now()
	for _, l := range b.held {
		if !l.valid() && !l.settling {
			b.forget(l)
		}
	}
}

// Extend implements brokers.Broker. SQS hides a message for 12 hours from its receive at
// most: the last extension is as long as that allows, and after it the lease is lost.
func (b *Broker) Extend(ctx context.Context, ttl time.Duration, ds []brokers.Delivery) (lost []task.ID, err error) {
	if err := b.usable(ctx); err != nil {
		return nil, b.fail(err)
	}
	want, err := visibility(ttl)
	if err != nil {
		return nil, b.fail(err)
	}
	began := time.Now()
	var (
		leases  []*lease
		handles []string
		hide    []int32
	)
	b.mu.Lock()
	for _, d := range ds {
		l := b.find(d.Task.ID, d.Token)
		if l == nil {
			lost = append(lost, d.Task.ID)
			continue
		}
		if l.settling { // its end is under way
			continue
		}
		left := int32(max(0, l.received.Add(maxHidden).Sub(began)) / time.Second)
		if left < want && !l.warned {
			l.warned = true
			b.log.Warn("SQS lets nobody hold a message for longer than 12 hours; the task loses its lease then",
				"broker", b.name, "task", l.task.ID, "type", l.task.Type, "left", time.Duration(left)*time.Second)
		}
		if left == 0 {
			lost = append(lost, d.Task.ID)
			continue
		}
		leases, handles, hide = append(leases, l), append(handles, l.handle), append(hide, min(want, left))
	}
	b.mu.Unlock()

	errs := b.main.hide(ctx, handles, hide)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, l := range leases {
		switch {
		case errs[i] == nil:
			if l.handle == handles[i] {
				l.until = began.Add(time.Duration(hide[i]) * time.Second)
			}
		case gone(errs[i]):
			lost = append(lost, l.task.ID)
			if !l.settling {
				b.forget(l)
			}
			errs[i] = nil
		}
	}
	return lost, b.fail(summary(errs, "leases were not extended"))
}
