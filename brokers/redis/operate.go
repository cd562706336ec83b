package redis

import (
	"context"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// Cancel implements brokers.Canceller.
func (b *Broker) Cancel(ctx context.Context, id task.ID, c brokers.Cancellation) (brokers.Item, error) {
	what := "cancel task " + string(id)
	wish, err := c.Encode()
	if err != nil {
		return brokers.Item{}, b.wrap(what, err)
	}
	cancel := func() ([]brokers.Item, error) {
		reply, err := b.run(ctx, cancelScript, []any{string(id), wish}, nil)
		if err != nil {
			return nil, err
		}
		return b.shown(reply, []string{string(id)})
	}
	items, err := cancel()
	if err == nil && len(items) == 0 {
		// It may be a message that nobody has looked at yet.
		if err = b.adoptAll(ctx); err == nil {
			items, err = cancel()
		}
	}
	if err == nil && len(items) == 0 {
		err = brokers.ErrNotFound
	}
	if err != nil {
		return brokers.Item{}, b.wrap(what, err)
	}
	return items[0], nil
}

// Cancelled implements brokers.Canceller. It asks for all there are.
func (b *Broker) Cancelled(ctx context.Context, ds []brokers.Delivery) (marks map[task.ID]brokers.Cancellation, err error) {
	list, err := b.runTexts(ctx, cancelledScript, nil)
	if err == nil && len(list)%2 != 0 {
		err = strange(list)
	}
	if err != nil {
		return nil, b.wrap("look for cancelled tasks", err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	ours := make(map[task.ID]bool, len(ds))
	for _, d := range ds {
		ours[d.Task.ID] = true
	}
	marks = map[task.ID]brokers.Cancellation{}
	for i := 0; i < len(list); i += 2 {
		if id := task.ID(list[i]); ours[id] {
			marks[id] = brokers.DecodeCancellation(list[i+1])
		}
	}
	return marks, nil
}

// Pause implements brokers.Pauser.
func (b *Broker) Pause(ctx context.Context) error {
	_, err := b.runText(ctx, pauseScript, []any{"pause"})
	return b.wrap("pause", err)
}

// Resume implements brokers.Pauser.
func (b *Broker) Resume(ctx context.Context) error {
	_, err := b.runText(ctx, pauseScript, []any{"resume"})
	return b.wrap("resume", err)
}

// Paused implements brokers.Pauser.
func (b *Broker) Paused(ctx context.Context) (time.Time, error) {
	since, err := b.runText(ctx, pauseScript, []any{""})
	if err != nil || since == "" {
		return time.Time{}, b.wrap("look for a pause", err)
	}
	if at := scoreTime(since); !at.IsZero() {
		return at, nil
	}
	return time.Unix(0, 0).UTC(), nil // somebody has written something else there: paused it is
}

// Purge implements brokers.Purger.
func (b *Broker) Purge(ctx context.Context, before time.Time, limit int) (n int, err error) {
	if limit < 1 {
		return 0, b.wrap("purge", b.conn.Usable(ctx))
	}
	for n < limit {
		want := min(limit-n, maxBatch)
		reply, err := b.run(ctx, purgeScript, []any{score(before), want}, nil)
		if err != nil {
			return n, b.wrap("purge", err)
		}
		gone, ok := reply.(int64)
		if !ok {
			return n, b.wrap("purge", strange(reply))
		}
		n += int(gone)
		if int(gone) < want {
			break
		}
	}
	return n, nil
}
