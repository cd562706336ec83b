package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/task"
)

// Retry says how a task that fails is tried again.
type Retry struct {
	// MaxAttempts is how often it is attempted in all; below 1 is once.
	MaxAttempts int
	// Backoff returns how long to wait before the attempt after the given one.
	Backoff func(attempt int) time.Duration
}

// Backoff is exponential with full jitter: a random time up to first after the first
// attempt, doubling with each up to most. A first of 0 is no wait.
func Backoff(first, most time.Duration) func(attempt int) time.Duration {
	return func(attempt int) time.Duration {
		upTo := min(first, most)
		for i := 1; i < attempt && upTo > 0 && upTo < most; i++ {
			if upTo = min(2*upTo, most); upTo < 0 {
				upTo = most // it has run over
			}
		}
		if upTo <= 0 {
			return 0
		}
		return time.Duration(rand.Int64N(int64(upTo)) + 1)
	}
}

// DefaultBackoff is up to 2 s after the first attempt, doubling up to an hour.
func DefaultBackoff(attempt int) time.Duration { return Backoff(2*time.Second, time.Hour)(attempt) }

// retry returns what holds for a task: what it says itself wins over its plugin's, which
// wins over the host's.
func (d *Dispatcher) retry(t *task.Task) Retry {
	r := Retry{MaxAttempts: d.tuning().MaxAttempts, Backoff: d.o.Backoff}
	if d.o.Retry != nil {
		r = d.o.Retry(t.Type)
	}
	if t.MaxAttempts > 0 {
		r.MaxAttempts = t.MaxAttempts
	}
	return r
}

// count adds how a failed attempt has ended to the failures of a task.
func count(f *task.Failures, o *pool.Outcome, code task.ReturnCode) {
	switch {
	case code == task.TimeLimitExceeded, o.Kind == pool.Died && o.Exit.Reason == process.ReasonTimeout:
		f.Timeouts++
	case o.Kind == pool.Died:
		f.Crashes++
	default:
		f.Errors++
	}
}

// tooManyCrashes returns in words why a task is not to run again for all that it has taken
// with it, "" if it may.
func (d *Dispatcher) tooManyCrashes(f task.Failures) string {
	switch {
	case f.Crashes+f.HostsLost < d.tuning().MaxCrashes:
		return ""
	case f.Crashes == 0:
		return fmt.Sprintf("its host was lost %d times while it ran", f.HostsLost)
	case f.HostsLost == 0:
		return fmt.Sprintf("it has crashed its process %d times", f.Crashes)
	}
	return fmt.Sprintf("it has crashed its process %d times, and its host was lost %d times while it ran", f.Crashes, f.HostsLost)
}

// recall fills in what earlier attempts of tasks have come to, by their records. Where those
// cannot be read, it is counted from anew.
func (d *Dispatcher) recall(ctx context.Context, again []*delivery) {
	if len(again) == 0 {
		return
	}
	ids := make([]task.ID, len(again))
	for i, dv := range again {
		ids[i] = dv.Task.ID
	}
	known, _ := d.stores.get(ctx, ids)
	for _, dv := range again {
		if rec, found := known[dv.Task.ID]; found {
			dv.failures = earlier(rec, dv)
		}
	}
}

// earlier returns the failures in a record as far as they are about the present life of the
// task: it may have been pushed anew since, or put back from the dead letters.
func earlier(rec task.Record, dv *delivery) task.Failures {
	if !task.SamePush(rec.Run.Delivery, dv.order()) || rec.Run.Attempt > dv.Attempt || rec.Run.Attempt < dv.Attempt-1 {
		return task.Failures{}
	}
	if rec.Run.Attempt < dv.Attempt && rec.Run.Retry.IsZero() {
		return task.Failures{} // it was not retried, but buried
	}
	return rec.Run.Failures
}

// dueAt returns a time of this host's as the broker's clock shows it.
func (s *source) dueAt(t time.Time) time.Time {
	if c, ok := brokers.Ability[brokers.Clocked](s.Broker.Broker); ok && !t.IsZero() {
		return t.Add(c.Skew())
	}
	return t
}
