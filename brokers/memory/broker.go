// Package memory is the reference broker: a queue in the memory of one process, the
// shortest code that keeps the whole contract. Tests and programs that need no durability
// use it; the other kinds are measured against it. Its tasks are gone with the process, so
// a host cannot be configured with it.
package memory

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// Broker is one handle on a Queue. It implements brokers.Broker and all its optional
// abilities but brokers.Clocked, and is safe for concurrent use.
type Broker struct {
	q      *Queue
	once   sync.Once
	closed chan struct{}
}

var (
	_ brokers.Broker    = (*Broker)(nil)
	_ brokers.Waiter    = (*Broker)(nil)
	_ brokers.Inspector = (*Broker)(nil)
	_ brokers.Canceller = (*Broker)(nil)
	_ brokers.Pauser    = (*Broker)(nil)
	_ brokers.Purger    = (*Broker)(nil)
)

// New returns a broker on a queue of its own.
func New() *Broker { return NewQueue(Options{}).Open() }

// Close ends the use of this handle; the tasks stay in the queue.
func (b *Broker) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// usable returns the error with which a method must return at once, if any.
func (b *Broker) usable(ctx context.Context) error {
	select {
	case <-b.closed:
		return fmt.Errorf("memory: %w", brokers.ErrClosed)
	default:
		return ctx.Err()
	}
}

// Push implements brokers.Broker.
func (b *Broker) Push(ctx context.Context, tasks []task.Task) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	for _, t := range tasks {
		t.Params = slices.Clone(t.Params)
		b.q.add(&entry{task: t})
	}
	return nil
}

// Lease implements brokers.Broker.
func (b *Broker) Lease(ctx context.Context, max int, ttl time.Duration) ([]brokers.Delivery, error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	now := b.q.now()
	b.q.tick(now)
	n := min(max, len(b.q.ready.items))
	if n < 1 || !b.q.paused.IsZero() {
		return nil, nil
	}
	b.q.token++
	token := strconv.FormatUint(b.q.token, 10)
	ds := make([]brokers.Delivery, n)
	for i := range ds {
		ds[i] = b.q.lease(now, ttl, token)
	}
	return ds, nil
}

// Extend implements brokers.Broker.
func (b *Broker) Extend(ctx context.Context, ttl time.Duration, ds []brokers.Delivery) (lost []task.ID, err error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	until := b.q.now().Add(ttl)
	for _, d := range ds {
		e, ok := b.q.held(d.Task.ID, d.Token)
		if !ok {
			lost = append(lost, d.Task.ID)
			continue
		}
		b.q.take(e)
		e.until = until
		b.q.put(&b.q.leased, e)
	}
	b.q.touch() // a shorter lease ends earlier than waiters think
	return lost, nil
}

// Settle implements brokers.Broker.
func (b *Broker) Settle(ctx context.Context, ss []brokers.Settlement) (lost []task.ID, err error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	for _, s := range ss {
		if s.Verdict < brokers.Done || s.Verdict > brokers.Bury {
			return nil, fmt.Errorf("memory: settle task %s: %d is not a verdict", s.ID, s.Verdict)
		}
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	now := b.q.now()
	for _, s := range ss {
		if e, ok := b.q.held(s.ID, s.Token); ok {
			b.q.settle(e, s, now)
		} else {
			lost = append(lost, s.ID)
		}
	}
	return lost, nil
}

// Stats implements brokers.Broker.
func (b *Broker) Stats(ctx context.Context) (brokers.Stats, error) {
	if err := b.usable(ctx); err != nil {
		return brokers.Stats{}, err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	b.q.tick(b.q.now())
	return brokers.Stats{
		Ready:     int64(len(b.q.ready.items)),
		Scheduled: int64(len(b.q.scheduled.items)),
		Leased:    int64(len(b.q.leased.items)),
		Dead:      int64(len(b.q.dead.items)),
		Parked:    int64(b.q.parked),
		Paused:    !b.q.paused.IsZero(),
	}, nil
}

// Wait implements brokers.Waiter.
func (b *Broker) Wait(ctx context.Context) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	due, changed := b.q.nextDue()
	timer := time.NewTimer(due)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-changed:
		return nil
	case <-b.closed:
		return b.usable(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// nextDue returns how long it is until a task becomes due by the clock alone, and the
// channel that is closed when that may have changed.
func (q *Queue) nextDue() (time.Duration, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	q.tick(now)
	wait := time.Hour
	if !q.paused.IsZero() {
		return wait, q.changed
	}
	if len(q.ready.items) > 0 {
		wait = 0
	}
	if e := q.scheduled.first(); e != nil {
		wait = min(wait, e.due.Sub(now))
	}
	if e := q.leased.first(); e != nil {
		wait = min(wait, e.until.Sub(now))
	}
	return wait, q.changed
}

// Find implements brokers.Inspector.
func (b *Broker) Find(ctx context.Context, id task.ID) (brokers.Item, error) {
	if err := b.usable(ctx); err != nil {
		return brokers.Item{}, err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	b.q.tick(b.q.now())
	e, ok := b.q.entries[id]
	if !ok {
		return brokers.Item{}, fmt.Errorf("memory: task %s: %w", id, brokers.ErrNotFound)
	}
	return b.q.item(e)
}

// List implements brokers.Inspector.
func (b *Broker) List(ctx context.Context, state brokers.State, cursor string, limit int) (items []brokers.Item, next string, err error) {
	if err := b.usable(ctx); err != nil {
		return nil, "", err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	b.q.tick(b.q.now())
	p, err := b.q.pile(state)
	if err != nil {
		return nil, "", fmt.Errorf("memory: %w", err)
	}
	// Leased tasks are listed by due time as well, though their pile is by the end of the lease.
	key := p.key
	if p == &b.q.leased {
		key = b.q.ready.key
	}
	es := slices.Clone(p.items)
	slices.SortFunc(es, func(a, b *entry) int {
		if c := key(a).Compare(key(b)); c != 0 {
			return c
		}
		return int(a.order) - int(b.order)
	})
	if cursor != "" {
		nano, order, err := parseCursor(cursor)
		if err != nil {
			return nil, "", fmt.Errorf("memory: %w", err)
		}
		es = slices.DeleteFunc(es, func(e *entry) bool {
			k := key(e).UnixNano()
			return k < nano || k == nano && e.order <= order
		})
	}
	for i, e := range es {
		if i >= limit {
			if i > 0 {
				next = fmt.Sprintf("%d.%d", key(es[i-1]).UnixNano(), es[i-1].order)
			}
			break
		}
		it, err := b.q.item(e)
		if err != nil {
			return nil, "", fmt.Errorf("memory: %w", err)
		}
		items = append(items, it)
	}
	return items, next, nil
}

func parseCursor(s string) (nano int64, order uint64, err error) {
	a, b, ok := strings.Cut(s, ".")
	if ok {
		if nano, err = strconv.ParseInt(a, 10, 64); err == nil {
			order, err = strconv.ParseUint(b, 10, 64)
		}
	}
	if !ok || err != nil {
		return 0, 0, fmt.Errorf("%q is not a cursor that List returned", s)
	}
	return nano, order, nil
}

// Requeue implements brokers.Inspector.
func (b *Broker) Requeue(ctx context.Context, ids []task.ID) (missing []task.ID, err error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	for _, id := range ids {
		e, ok := b.q.entries[id]
		if !ok || e.in != &b.q.dead {
			missing = append(missing, id)
			continue
		}
		b.q.take(e)
		e.attempts, e.lost, e.due = 0, 0, b.q.now() // the sequence goes on: records are ordered by it
		b.q.wait(e)
	}
	return missing, nil
}

// Delete implements brokers.Inspector.
func (b *Broker) Delete(ctx context.Context, ids []task.ID) (missing []task.ID, err error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	b.q.tick(b.q.now())
	for _, id := range ids {
		e, ok := b.q.entries[id]
		if !ok || e.in == &b.q.leased {
			missing = append(missing, id)
			continue
		}
		b.q.take(e)
		delete(b.q.entries, id)
	}
	return missing, nil
}
