package dispatch

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	memorystore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		first, most time.Duration
		attempt     int
		upTo        time.Duration
	}{
		{time.Second, time.Hour, 1, time.Second},
		{time.Second, time.Hour, 4, 8 * time.Second},
		{time.Second, time.Hour, 13, time.Hour},
		{time.Second, time.Hour, 1000, time.Hour},
		{time.Hour, time.Minute, 1, time.Minute},
		{1 << 62, 1<<63 - 1, 3, 1<<63 - 1},
		{0, time.Hour, 5, 0},
		{time.Second, 0, 5, 0},
	} {
		var sum, largest time.Duration
		for range 200 {
			d := Backoff(c.first, c.most)(c.attempt)
			require.GreaterOrEqual(t, d, time.Duration(0))
			require.LessOrEqual(t, d, c.upTo, c)
			sum, largest = sum+d/200, max(largest, d)
		}
		require.InDelta(t, float64(c.upTo)/2, float64(sum), float64(c.upTo)/5, "full jitter: the mean is half of it: %v", c)
		require.GreaterOrEqual(t, largest, c.upTo/2)
	}
}

// A task's own number of attempts wins over its plugin's, which wins over the host's.
func TestWhoseAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newRunner(4, func(*pool.Job, <-chan process.Reason) pool.Outcome { return ended(task.Error) }),
			Options{MaxAttempts: 2, Retry: func(taskType string) Retry {
				r := Retry{MaxAttempts: 2, Backoff: Backoff(time.Second, time.Second)}
				if taskType == "plugin.own" {
					r.MaxAttempts = 3
				}
				return r
			}}, 0)
		now := time.Now()
		require.NoError(t, b.brokers[0].Push(t.Context(), []task.Task{
			{ID: "host", Type: "a.b", PushedAt: now}, {ID: "plugin", Type: "plugin.own", PushedAt: now},
			{ID: "more", Type: "plugin.own", PushedAt: now, MaxAttempts: 7}, {ID: "once", Type: "plugin.own", PushedAt: now, MaxAttempts: 1}}))
		time.Sleep(time.Minute)
		require.Equal(t, brokers.Stats{Dead: 4}, b.counts(0))
		for id, want := range map[task.ID]int{"host": 2, "plugin": 3, "more": 7, "once": 1} {
			r, _ := b.record(id)
			require.Equal(t, want, r.Run.Attempt, id)
			require.Equal(t, task.Failures{Errors: want}, r.Run.Failures, id)
		}
		b.stop()
	})
}

// What goes wrong is counted by its cause over all attempts; crashes have a bound of their
// own.
func TestFailuresByCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		endings := []pool.Outcome{ended(task.Error), died(process.ReasonTimeout), died(process.ReasonSignal), ended(task.TimeLimitExceeded),
			died(process.ReasonExit), ended(task.Error), died(process.ReasonMemory), ended(task.Success)}
		b := start(t, newRunner(1, func(*pool.Job, <-chan process.Reason) pool.Outcome { return endings[n.Add(1)-1] }),
			Options{MaxAttempts: 100, MaxCrashes: 3, Backoff: Backoff(time.Second, time.Second)}, 0)
		id := b.push(0, 1, "a.b")[0]
		time.Sleep(time.Minute)
		require.Equal(t, brokers.Stats{Dead: 1}, b.counts(0))
		r, _ := b.record(id)
		require.Equal(t, task.Failures{Errors: 2, Crashes: 3, Timeouts: 2}, r.Run.Failures)
		require.Equal(t, 7, r.Run.Attempt, "the third crash was one too many")
		it, err := b.brokers[0].Broker.(brokers.Inspector).Find(t.Context(), id)
		require.NoError(t, err)
		require.Contains(t, it.History[len(it.History)-1].Reason, "it has crashed its process 3 times")
		require.Len(t, it.History, 7)

		// Put back, it begins anew, its failures too.
		_, err = b.brokers[0].Broker.(brokers.Inspector).Requeue(t.Context(), []task.ID{id})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		r, _ = b.record(id)
		require.Equal(t, task.Success, r.RetC)
		require.Equal(t, task.Failures{}, r.Run.Failures)
		b.stop()
	})
}

// Crashes and lost hosts share one bound, across attempts.
func TestCrashesAndLostHosts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		queue := memorybroker.NewQueue(memorybroker.Options{})
		other := queue.Open()
		b := &bundle{t: t, runner: newRunner(1, func(*pool.Job, <-chan process.Reason) pool.Outcome { return died(process.ReasonSignal) }),
			store: &failing{Store: memorystore.New()}}
		w := &watched{Broker: queue.Open()}
		b.brokers = append(b.brokers, w)
		at := time.Now()
		require.NoError(t, other.Push(t.Context(), []task.Task{{ID: "x", Type: "a.b", PushedAt: at}}))
		// Two hosts were lost while they ran it, as the record says of the second.
		for range 2 {
			_, err := other.Lease(t.Context(), 1, time.Second)
			require.NoError(t, err)
			time.Sleep(2 * time.Second)
		}
		require.NoError(t, b.store.Put(t.Context(), []task.Record{{ID: "x", Type: "a.b", Status: task.InProgress,
			Run: task.Run{Attempt: 1, Delivery: task.DeliveryOrder(at, 2), Failures: task.Failures{HostsLost: 1}}}}))
		b.begin(Options{MaxAttempts: 100, MaxCrashes: 4, Backoff: Backoff(time.Second, time.Second), Brokers: []Broker{{Name: "b", Broker: w}}})
		time.Sleep(time.Minute)
		require.Equal(t, brokers.Stats{Dead: 1}, b.counts(0))
		r, _ := b.record("x")
		require.Equal(t, task.Failures{Crashes: 2, HostsLost: 2}, r.Run.Failures)
		require.Equal(t, 2, r.Run.Attempt)
		b.stop()
	})
}
