package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// Cancel implements brokers.Canceller.
func (b *Broker) Cancel(ctx context.Context, id task.ID, c brokers.Cancellation) (brokers.Item, error) {
	if err := b.usable(ctx); err != nil {
		return brokers.Item{}, err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	b.q.tick(b.q.now())
	e, ok := b.q.entries[id]
	if !ok {
		return brokers.Item{}, fmt.Errorf("memory: cancel task %s: %w", id, brokers.ErrNotFound)
	}
	it, err := b.q.item(e)
	if err != nil {
		return brokers.Item{}, fmt.Errorf("memory: cancel task %s: %w", id, err)
	}
	switch it.State {
	case brokers.StateLeased:
		e.cancel = &c
	case brokers.StateReady, brokers.StateScheduled:
		b.q.take(e)
		delete(b.q.entries, id)
	}
	return it, nil
}

// Cancelled implements brokers.Canceller.
func (b *Broker) Cancelled(ctx context.Context, ds []brokers.Delivery) (map[task.ID]brokers.Cancellation, error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	var marks map[task.ID]brokers.Cancellation
	for _, d := range ds {
		if e, ok := b.q.entries[d.Task.ID]; ok && e.cancel != nil {
			if marks == nil {
				marks = map[task.ID]brokers.Cancellation{}
			}
			marks[d.Task.ID] = *e.cancel
		}
	}
	return marks, nil
}

// Pause implements brokers.Pauser. The pause lasts as long as the Queue, which is no longer
// than the program.
func (b *Broker) Pause(ctx context.Context) error {
	return b.setPaused(ctx, func(since time.Time) time.Time {
		if since.IsZero() {
			since = b.q.now()
		}
		return since
	})
}

// Resume implements brokers.Pauser.
func (b *Broker) Resume(ctx context.Context) error {
	return b.setPaused(ctx, func(time.Time) time.Time { return time.Time{} })
}

func (b *Broker) setPaused(ctx context.Context, f func(since time.Time) time.Time) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	b.q.paused = f(b.q.paused)
	b.q.touch()
	return nil
}

// Paused implements brokers.Pauser.
func (b *Broker) Paused(ctx context.Context) (time.Time, error) {
	if err := b.usable(ctx); err != nil {
		return time.Time{}, err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	return b.q.paused, nil
}

// Purge implements brokers.Purger.
func (b *Broker) Purge(ctx context.Context, before time.Time, limit int) (n int, err error) {
	if err := b.usable(ctx); err != nil {
		return 0, err
	}
	b.q.mu.Lock()
	defer b.q.mu.Unlock()
	for ; n < limit; n++ {
		e := b.q.dead.first()
		if e == nil || !e.buried.Before(before) {
			break
		}
		b.q.take(e)
		delete(b.q.entries, e.task.ID)
	}
	return n, nil
}
