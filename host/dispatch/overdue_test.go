package dispatch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	memorystore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

// frozen is a broker that is leased from when it has stood still for a while.
type frozen struct {
	*watched
	stands time.Duration
	lose   bool // and the answer is late enough for others to have taken the tasks
}

func (f *frozen) Lease(ctx context.Context, n int, ttl time.Duration) ([]brokers.Delivery, error) {
	began, stands := time.Now(), f.stands
	f.stands = 0
	if !f.lose {
		time.Sleep(stands)
	}
	ds, err := f.watched.Lease(ctx, n, ttl)
	if f.lose {
		time.Sleep(stands)
	}
	for i := range ds {
		ds[i].Until = began.Add(ttl) // reckoned from before the call, as brokers do
	}
	return ds, err
}

// Tasks that a broker hands over after it has stood still for longer than a lease run once:
// their leases are renewed before they run.
func TestLateAnswerRunsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, w := lone(t, newRunner(4, succeed))
		b.push(0, 4, "demo.noop")
		b.begin(Options{Lease: 10 * time.Second, Brokers: []Broker{{Name: "b", Broker: &frozen{watched: w, stands: 12 * time.Second}}}})
		time.Sleep(time.Minute)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.Len(t, b.runner.ran(), 4, "each has run once")
		b.stop()
	})
}

// Tasks whose leases have ended, and gone to another host, before the answer came are not
// begun at all.
func TestLateAnswerOfLostLeases(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bundle{t: t, runner: newRunner(4, succeed), store: &failing{Store: memorystore.New()}}
		queue := memorybroker.NewQueue(memorybroker.Options{})
		w, other := &watched{Broker: queue.Open()}, queue.Open()
		b.brokers = []*watched{w}
		b.push(0, 4, "demo.noop")
		b.begin(Options{Lease: 10 * time.Second, Brokers: []Broker{{Name: "b", Broker: &frozen{watched: w, stands: 12 * time.Second, lose: true}}}})
		time.Sleep(11 * time.Second)
		ds, err := other.Lease(t.Context(), 4, time.Hour)
		require.NoError(t, err)
		require.Len(t, ds, 4)
		time.Sleep(time.Minute)
		require.Empty(t, b.runner.ran())
		require.Zero(t, b.Held())
		require.NoError(t, other.Close())
		b.stop()
	})
}

// A host that was lost before every store had the record of a task leaves that to whoever
// gets the task next.
func TestSettledByRecordInEveryStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bundle{t: t, runner: newRunner(4, succeed), store: &failing{Store: memorystore.New()}}
		w, second := &watched{Broker: memorybroker.New()}, memorystore.New()
		b.brokers = []*watched{w}
		id := b.push(0, 1, "demo.noop")[0]
		_, err := w.Broker.Lease(t.Context(), 1, time.Second) // the host that is lost
		require.NoError(t, err)
		rec := task.Record{ID: id, Status: task.Completed, RetC: task.Success, Type: "demo.noop", RespM: "done by another",
			Run: task.Run{Attempt: 1, Delivery: task.DeliveryOrder(time.Now(), 1), Ended: time.Now().UTC()}}
		require.NoError(t, b.store.Put(t.Context(), []task.Record{rec}))
		time.Sleep(2 * time.Second)
		b.begin(Options{Brokers: []Broker{{Name: "b", Broker: w}}, Stores: []Store{{Name: "second", Store: second}}})
		time.Sleep(10 * time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.Empty(t, b.runner.ran())
		recs, err := second.Get(t.Context(), []task.ID{id})
		require.NoError(t, err)
		require.Len(t, recs, 1)
		require.Equal(t, "done by another", recs[0].RespM)
		b.stop()
		require.NoError(t, second.Close())
	})
}

// A task whose end is recorded does not run again, however many hosts are lost before one of
// them settles it.
func TestRecordedThroughSeveralLostHosts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, w := lone(t, newRunner(4, succeed))
		id := b.push(0, 1, "demo.noop")[0]
		require.NoError(t, b.store.Put(t.Context(), []task.Record{{ID: id, Status: task.Completed, RetC: task.Success, Type: "demo.noop",
			Run: task.Run{Attempt: 1, Delivery: task.DeliveryOrder(time.Now(), 1), Ended: time.Now().UTC()}}}))
		for range 3 { // the host that has recorded it, and two more
			_, err := w.Broker.Lease(t.Context(), 1, time.Second)
			require.NoError(t, err)
			time.Sleep(2 * time.Second)
		}
		b.begin(Options{Brokers: []Broker{{Name: "b", Broker: w}}})
		time.Sleep(10 * time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.Empty(t, b.runner.ran())
		b.stop()
	})
}

// The next attempt of a task whose host was lost is not put off by how wrong the clock of that
// host was.
func TestRetryRecordedByWrongClock(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"fast": time.Hour, "slow": -time.Hour, "right": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, w := lone(t, newRunner(4, succeed))
				id := b.push(0, 1, "demo.noop")[0]
				_, err := w.Broker.Lease(t.Context(), 1, time.Second) // the host that is lost
				require.NoError(t, err)
				its := time.Now().Add(ahead).UTC()
				require.NoError(t, b.store.Put(t.Context(), []task.Record{{ID: id, Status: task.Pending, RetC: task.Error, Type: "demo.noop",
					Run: task.Run{Attempt: 1, Delivery: task.DeliveryOrder(time.Now(), 1), Ended: its, Retry: its.Add(20 * time.Second)}}}))
				time.Sleep(2 * time.Second)
				b.begin(Options{MaxAttempts: 2, Brokers: []Broker{{Name: "b", Broker: w}}})
				time.Sleep(30 * time.Second)
				require.Equal(t, brokers.Stats{}, b.counts(0))
				r, _ := b.record(id)
				require.Equal(t, 2, r.Run.Attempt)
				b.stop()
			})
		})
	}
}

// copies is a broker that delivers an old copy of a task, of an attempt that has been made.
type copies struct {
	*watched
	old brokers.Delivery
}

func (c *copies) Lease(ctx context.Context, n int, ttl time.Duration) ([]brokers.Delivery, error) {
	ds, err := c.watched.Lease(ctx, n, ttl)
	for i := range ds {
		ds[i].Repeated, ds[i].Attempt, ds[i].Sequence, ds[i].Lost = true, c.old.Attempt, c.old.Sequence, c.old.Lost
	}
	return ds, err
}

// An old copy of a task that has come further does not run; a task that has been put back
// from the dead letters does.
func TestOldCopyDoesNotRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		delivery brokers.Delivery
		runs     int
	}{
		"an old copy":                    {brokers.Delivery{Attempt: 1, Sequence: 2, Lost: 1}, 0},
		"an old copy, lost often":        {brokers.Delivery{Attempt: 2, Sequence: 6, Lost: 5}, 0},
		"a copy sent twice":              {brokers.Delivery{Attempt: 1, Sequence: 1}, 0},
		"put back":                       {brokers.Delivery{Attempt: 1, Sequence: 4}, 1},
		"put back, and its host lost":    {brokers.Delivery{Attempt: 1, Sequence: 5, Lost: 1}, 1},
		"put back, and two hosts lost":   {brokers.Delivery{Attempt: 1, Sequence: 6, Lost: 2}, 1},
		"the attempt after the recorded": {brokers.Delivery{Attempt: 4, Sequence: 4}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, w := lone(t, newRunner(4, succeed))
				id := b.push(0, 1, "demo.noop")[0]
				require.NoError(t, b.store.Put(t.Context(), []task.Record{{ID: id, Status: task.Completed, RetC: task.Error, Type: "demo.noop",
					Run: task.Run{Attempt: 3, Delivery: task.DeliveryOrder(time.Now(), 3), Ended: time.Now().UTC()}}}))
				b.begin(Options{MaxAttempts: 5, Brokers: []Broker{{Name: "b", Broker: &copies{w, c.delivery}}}})
				time.Sleep(10 * time.Second)
				require.Equal(t, brokers.Stats{}, b.counts(0))
				require.Len(t, b.runner.ran(), c.runs)
				b.stop()
			})
		})
	}
}
