package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/task"
)

const (
	// A wait asks the stores again after a pause that grows from the first to the second.
	pollFirst = 5 * time.Millisecond
	pollMost  = 200 * time.Millisecond
	// explainLimit bounds the look for the reason why a wait was in vain, and other looks
	// into brokers that an answer is not worth waiting long for.
	explainLimit = 2 * time.Second
)

func addTimeout(flags *pflag.FlagSet, timeout *time.Duration) {
	flags.Var(newValue(timeout, "DURATION", duration), "timeout", "wait no longer than this; by default without an end")
}

// waiter waits until tasks have ended.
type waiter struct {
	stores  *stores
	cfg     *config.Config
	timeout time.Duration // 0: none
	// stale holds records of earlier runs, which are not what is waited for.
	stale map[task.ID]task.Record
	// found holds the records of tasks that have ended.
	found map[task.ID]task.Record
}

// oldRecords returns the records that there are of tasks before they are pushed.
func (w *waiter) oldRecords(ctx context.Context, ids ...task.ID) (map[task.ID]task.Record, error) {
	old := map[task.ID]task.Record{}
	return old, w.stores.get(ctx, ids, old)
}

// wait fills found with the records of ids, as they end. Its error says which have not.
func (w *waiter) wait(ctx context.Context, ids []task.ID) error {
	waitCtx := ctx
	if w.timeout > 0 {
		var cancel context.CancelFunc
		waitCtx, cancel = context.WithTimeout(ctx, w.timeout)
		defer cancel()
	}
	rest := ids
	pause := pollFirst
	for {
		left, err := w.poll(waitCtx, rest)
		switch {
		case len(left) == 0:
			return nil
		case waitCtx.Err() != nil:
			return w.inVain(ctx, left, len(ids))
		case err != nil:
			return err
		case len(left) < len(rest):
			pause = pollFirst
		}
		rest = left
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-waitCtx.Done():
			timer.Stop()
		}
		pause = min(pollMost, pause*3/2)
	}
}

// poll looks for the records of tasks and returns those that have not ended. Of many it
// looks at the first ones only, until they have ended.
func (w *waiter) poll(ctx context.Context, ids []task.ID) (left []task.ID, err error) {
	for len(ids) > 0 {
		n := min(len(ids), recordsPerCall)
		records := map[task.ID]task.Record{}
		if err := w.stores.get(ctx, ids[:n], records); err != nil {
			return append(left, ids...), err
		}
		for _, id := range ids[:n] {
			if r, ok := records[id]; ok && ended(r) && !w.isStale(r) {
				w.found[id] = r
			} else {
				left = append(left, id)
			}
		}
		ids = ids[n:]
		if len(left) > 0 {
			break
		}
	}
	return append(left, ids...), nil
}

func (w *waiter) isStale(r task.Record) bool {
	old, ok := w.stale[r.ID]
	return ok && sameRun(old, r)
}

// sameRun reports whether two records of a task are of one run of it.
func sameRun(a, b task.Record) bool {
	return a.Run.Delivery == b.Run.Delivery && a.Run.Ended.Equal(b.Run.Ended) && a.ExStart.Equal(b.ExStart)
}

// ended reports whether a record is of a task that has ended and is not tried again.
// Additional meta info can have put something else into the place of its status.
func ended(r task.Record) bool {
	return (r.Status == task.Completed || !r.Run.Ended.IsZero()) && r.Run.Retry.IsZero()
}

// inVain says which tasks a wait that has ended too early was for.
func (w *waiter) inVain(ctx context.Context, left []task.ID, of int) error {
	what := fmt.Sprintf("task %s has not ended", left[0])
	if of > 1 {
		what = fmt.Sprintf("%d of %s have not ended", len(left), count(of, "task", "tasks"))
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %s", what)
	}
	what += fmt.Sprintf(" within %v", w.timeout)
	if w.stores.trouble != nil {
		return fmt.Errorf("%s: %w", what, w.stores.trouble)
	}
	ctx, cancel := context.WithTimeout(ctx, explainLimit)
	defer cancel()
	if it, ok, _ := findInBrokers(ctx, w.cfg, left[0]); ok {
		which := "it"
		if of > 1 {
			which = fmt.Sprintf("the first of them, %s,", left[0])
		}
		what += fmt.Sprintf("; %s is %s", which, it.describe())
		records := map[task.ID]task.Record{}
		_ = w.stores.get(ctx, left[:1], records) // where that fails there is just less to say
		if r, ok := records[left[0]]; ok && r.Status == task.InProgress && r.Run.Progress != nil {
			what += "; progress: " + strings.TrimSpace(howFar(*r.Run.Progress))
		}
	}
	return errors.New(what)
}
