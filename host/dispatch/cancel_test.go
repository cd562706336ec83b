package dispatch

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/host/cancel"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	memorystore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

// untilKilled runs for an hour, or until it is killed.
func untilKilled(_ *pool.Job, killed <-chan process.Reason) pool.Outcome {
	began := time.Now()
	select {
	case reason := <-killed:
		return pool.Outcome{Kind: pool.Died, Plugin: "demo", PID: 7, Started: began, Duration: time.Since(began),
			Exit: process.Exit{Reason: reason, Code: -1, PeakMemory: 1 << 20}}
	case <-time.After(time.Hour):
		return ended(task.Success)
	}
}

func wish(grace time.Duration) brokers.Cancellation {
	return brokers.Cancellation{At: time.Now(), Grace: grace, Reason: "cancelled by operator: enough"}
}

func (b *bundle) cancelTask(id task.ID, c brokers.Cancellation) brokers.State {
	b.t.Helper()
	canceller, ok := brokers.Ability[brokers.Canceller](b.brokers[0].Broker)
	require.True(b.t, ok)
	it, err := canceller.Cancel(context.Background(), id, c)
	require.NoError(b.t, err)
	return it.State
}

func requireCancelled(t *testing.T, r task.Record) {
	t.Helper()
	require.Equal(t, task.Completed, r.Status)
	require.Equal(t, task.Error, r.RetC)
	require.Equal(t, "cancelled by operator: enough", r.Run.Error)
	require.NotNil(t, r.Run.Exit)
	require.Equal(t, "cancelled", r.Run.Exit.Reason)
	require.False(t, r.Run.Ended.IsZero())
	require.True(t, r.Run.Retry.IsZero())
	require.True(t, cancel.Was(r))
}

// full is a broker with all abilities of the one behind it.
type full struct{ *watched }

func (f full) Unwrap() brokers.Broker { return f.watched.Broker }

func startFull(t *testing.T, r *runner, o Options) *bundle {
	b, w := lone(t, r)
	o.Brokers = append(o.Brokers, Broker{Name: "b0", CountFor: 200 * time.Millisecond, Broker: full{w}})
	return b.begin(o)
}

// A running task that is cancelled is stopped within a second and its grace, recorded as
// cancelled, and neither retried nor buried.
func TestCancelRunning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startFull(t, newRunner(4, untilKilled), Options{MaxAttempts: 5})
		ids := b.push(0, 2, "demo.sleep")
		time.Sleep(5 * time.Second)
		require.Equal(t, brokers.StateLeased, b.cancelTask(ids[0], wish(10*time.Second)))
		began := time.Now()
		time.Sleep(9 * time.Second)
		require.EqualValues(t, 2, b.counts(0).Leased, "it has a grace")
		require.Eventually(t, func() bool { return b.counts(0).Leased == 1 }, 10*time.Second, 10*time.Millisecond)
		require.LessOrEqual(t, time.Since(began), 11*time.Second)
		require.Equal(t, brokers.Stats{Leased: 1}, b.counts(0))
		r, ok := b.record(ids[0])
		require.True(t, ok)
		requireCancelled(t, r)
		require.EqualValues(t, 1<<20, r.Run.Exit.PeakMemory, "what is known of the run stays")

		b.cancelTask(ids[1], wish(0))
		time.Sleep(time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		r, _ = b.record(ids[1])
		requireCancelled(t, r)
		b.stop()
	})
}

// A second wish shortens the grace of the first.
func TestCancelAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startFull(t, newRunner(1, untilKilled), Options{})
		ids := b.push(0, 1, "demo.sleep")
		time.Sleep(5 * time.Second)
		b.cancelTask(ids[0], wish(time.Hour))
		time.Sleep(5 * time.Second)
		b.cancelTask(ids[0], wish(0))
		time.Sleep(time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		b.stop()
	})
}

// What a task makes of its grace: a success counts, an error is a cancellation.
func TestCancelledTaskEndsByItself(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]task.ReturnCode{"well": task.Success, "with a warning": task.Warning, "badly": task.Error} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := startFull(t, newRunner(1, func(*pool.Job, <-chan process.Reason) pool.Outcome {
					time.Sleep(10 * time.Second)
					return ended(code)
				}), Options{MaxAttempts: 5})
				ids := b.push(0, 1, "demo.sleep")
				time.Sleep(8 * time.Second)
				b.cancelTask(ids[0], wish(time.Hour))
				time.Sleep(5 * time.Second)
				require.Equal(t, brokers.Stats{}, b.counts(0), "in no case is it retried")
				r, _ := b.record(ids[0])
				if code.Failed() {
					requireCancelled(t, r)
					require.Equal(t, "it failed", r.Run.Note)
				} else {
					require.Equal(t, code, r.RetC)
					require.Nil(t, r.Run.Exit)
				}
				b.stop()
			})
		})
	}
}

// A cancelled task whose host was lost, or that was given back, does not run again.
func TestCancelledTaskIsDeliveredAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		queue := memorybroker.NewQueue(memorybroker.Options{})
		other := queue.Open()
		require.NoError(t, other.Push(t.Context(), []task.Task{{ID: "lost", Type: "demo.sleep", PushedAt: time.Now()}}))
		ds, err := other.Lease(t.Context(), 1, 30*time.Second)
		require.NoError(t, err)
		require.Len(t, ds, 1)
		_, err = other.Cancel(t.Context(), "lost", wish(0))
		require.NoError(t, err)

		r := newRunner(1, succeed)
		b := &bundle{t: t, runner: r, store: &failing{Store: memorystore.New()}}
		w := &watched{Broker: queue.Open()}
		b.brokers = append(b.brokers, w)
		b.begin(Options{Brokers: []Broker{{Name: "b0", Broker: full{w}}}})
		time.Sleep(time.Minute)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.Empty(t, r.ran())
		rec, _ := b.record("lost")
		requireCancelled(t, rec)
		b.stop()
	})
}

// Where the broker can keep no wish, the meta storages do: of running tasks, and of those
// that are yet to be received.
func TestCancelThroughTheStores(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRunner(1, untilKilled)
		b, w := lone(t, r)
		b.begin(Options{Brokers: []Broker{{Name: "b0", Broker: doubtful{w}}}}) // no Canceller, as SQS
		ids := b.push(0, 2, "demo.sleep")
		time.Sleep(5 * time.Second)
		for _, id := range ids {
			rec, err := cancel.Wish(id, wish(2*time.Second))
			require.NoError(t, err)
			require.NoError(t, b.store.Put(t.Context(), []task.Record{rec}))
		}
		time.Sleep(5 * time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.Len(t, r.ran(), 1, "the one that waited has never run")
		for _, id := range ids {
			rec, _ := b.record(id)
			requireCancelled(t, rec)
		}

		// The id is used again later: an old wish is not about the new task.
		time.Sleep(time.Second)
		require.NoError(t, w.Broker.Push(t.Context(), []task.Task{{ID: ids[0], Type: "demo.sleep", PushedAt: time.Now()}}))
		time.Sleep(5 * time.Second)
		require.Len(t, r.ran(), 2)
		b.stop()
	})
}

// Its host died between record and settlement: the record of a cancelled task says that it
// is done.
func TestCancelledByItsRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRunner(1, succeed)
		b, w := lone(t, r)
		at := time.Now()
		rec := task.Record{ID: "x", Type: "demo.sleep", Run: task.Run{Attempt: 1, Delivery: task.DeliveryOrder(at, 1)}}
		cancel.Conclude(&rec, wish(0), time.Now())
		require.NoError(t, b.store.Put(t.Context(), []task.Record{rec}))
		require.NoError(t, w.Broker.Push(t.Context(), []task.Task{{ID: "x", Type: "demo.sleep", PushedAt: at}}))
		b.begin(Options{Brokers: []Broker{{Name: "b0", Broker: doubtful{w}}}})
		time.Sleep(time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.Empty(t, r.ran())
		b.stop()
	})
}

func TestRemovedRecord(t *testing.T) {
	t.Parallel()
	now := time.Now()
	it := brokers.Item{ID: "x", Task: task.Task{ID: "x", Type: "a.b", PushedAt: now}, Attempt: 1, Sequence: 2}
	older := task.Record{ID: "x", Type: "a.b", Status: task.Pending, RespM: "said", ExTime: 3,
		Run: task.Run{Attempt: 1, Delivery: task.DeliveryOrder(now, 2), Error: "it failed", Retry: now}}
	for name, was := range map[string]task.Record{"none": {}, "of its last attempt": older, "of an older push": {ID: "x", Run: task.Run{Delivery: 1}}} {
		rec := cancel.Removed(it, was, wish(0), now)
		require.Equal(t, "a.b", rec.Type, name)
		require.GreaterOrEqual(t, rec.Run.Delivery, task.DeliveryOrder(now, 2), name)
		requireCancelled(t, rec)
		require.True(t, strings.HasPrefix(rec.Run.Note, "it was removed"), name)
	}
}

// ran returns what has been begun so far.
func (r *runner) ran() []task.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.begun)
}
