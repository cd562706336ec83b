package dispatch

import (
	"context"
	"fmt"
	"time"
)

// Tuning is what can be changed while a dispatcher works; see Options for the meanings.
type Tuning struct {
	EmptySleep, BusySleep   time.Duration
	MaxAttempts, MaxCrashes int
}

// Tune changes the dispatcher's tuning. What is decided from now on follows it; a sleep that
// is under way ends.
func (d *Dispatcher) Tune(t Tuning) {
	t.MaxAttempts, t.MaxCrashes = max(1, t.MaxAttempts), max(1, t.MaxCrashes)
	d.tuned.Store(&t)
	select {
	case d.woken <- struct{}{}:
	default:
	}
}

// tuning returns what holds now: what it was opened with, until it is changed.
func (d *Dispatcher) tuning() *Tuning {
	if t := d.tuned.Load(); t != nil {
		return t
	}
	return &Tuning{EmptySleep: d.o.EmptySleep, BusySleep: d.o.BusySleep, MaxAttempts: d.o.MaxAttempts, MaxCrashes: d.o.MaxCrashes}
}

// Alive proves that the dispatcher works: the loop that feeds the pool answers. One that has
// been told to drain does not feed any more, and is alive until it is closed. The error is
// ctx's, if there is no answer before its end.
func (d *Dispatcher) Alive(ctx context.Context) error {
	select {
	case d.pings <- struct{}{}:
	case <-d.feedDone:
	case <-ctx.Done():
		return fmt.Errorf("the feeding of tasks does not answer: %w", ctx.Err())
	}
	return nil
}
