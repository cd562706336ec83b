package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/metastore"
	memorystore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

// doubtful is a broker that can never rule out that it delivers a task twice.
type doubtful struct{ brokers.Broker }

func (d doubtful) Lease(ctx context.Context, n int, ttl time.Duration) ([]brokers.Delivery, error) {
	ds, err := d.Broker.Lease(ctx, n, ttl)
	for i := range ds {
		ds[i].Repeated = true
	}
	return ds, err
}

// A task that is given back without having run has lost no host, however often that
// happens.
func TestGivenBackIsNoCrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var served atomic.Bool
		run := func(*pool.Job, <-chan process.Reason) pool.Outcome {
			if !served.Load() {
				return pool.Outcome{Kind: pool.Unserved, Reason: `no plugin serves task type "x"`}
			}
			return ended(task.Success)
		}
		b, w := lone(t, newRunner(4, run))
		b.begin(Options{MaxCrashes: 3, Brokers: []Broker{{Name: "b", Broker: doubtful{w}}}})
		id := b.push(0, 1, "x")[0]
		time.Sleep(5 * time.Minute)
		require.Equal(t, brokers.Stats{Scheduled: 1, Parked: 1}, b.counts(0))
		r, _ := b.record(id)
		require.Equal(t, task.Pending, r.Status)
		require.Contains(t, r.Run.Note, "no plugin serves")
		served.Store(true)
		time.Sleep(15 * time.Second)
		r, _ = b.record(id)
		require.Equal(t, task.Success, r.RetC)
		b.stop()
	})
}

// That a task runs is written down without forgetting how many hosts it has taken so far.
func TestCrashesAreKeptWhileItRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		run := func(j *pool.Job, _ <-chan process.Reason) pool.Outcome {
			(&Observer{Logger: slog.New(slog.DiscardHandler)}).Running(j, "demo", 7, time.Now())
			<-release
			return ended(task.Success)
		}
		b, w := lone(t, newRunner(1, run))
		id := b.push(0, 1, "demo.poison")[0]
		_, err := w.Broker.Lease(t.Context(), 1, time.Second) // the host that dies
		require.NoError(t, err)
		require.NoError(t, b.store.Put(t.Context(), []task.Record{{ID: id, Status: task.InProgress, Type: "demo.poison",
			Run: task.Run{Attempt: 1, Delivery: task.DeliveryOrder(time.Now(), 1), Failures: task.Failures{HostsLost: 1}}}}))
		time.Sleep(2 * time.Second)
		b.begin(Options{MaxCrashes: 5, Brokers: []Broker{{Name: "b", Broker: w}}})
		time.Sleep(10 * time.Second)
		r, _ := b.record(id)
		require.Equal(t, task.InProgress, r.Status)
		require.Equal(t, 2, r.Run.HostsLost)
		close(release)
		time.Sleep(time.Second)
		r, _ = b.record(id)
		require.Equal(t, 2, r.Run.HostsLost)
		b.stop()
	})
}

// hanging is a store whose reads and writes hang until they are cut short.
type hanging struct {
	metastore.Store
	hang atomic.Bool
}

func (h *hanging) Get(ctx context.Context, ids []task.ID) ([]task.Record, error) {
	if h.hang.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.Store.Get(ctx, ids)
}

func (h *hanging) Put(ctx context.Context, recs []task.Record) error {
	if h.hang.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.Store.Put(ctx, recs)
}

// A store that hangs holds up neither the other brokers nor the end of the host, though
// the tasks of one broker cannot be looked up in it.
func TestHangingStoreHoldsUpNoOtherBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bundle{t: t, runner: newRunner(8, succeed), store: &failing{Store: memorystore.New()}}
		slow := &hanging{Store: memorystore.New()}
		slow.hang.Store(true)
		one, two := &watched{Broker: memorybroker.New()}, &watched{Broker: memorybroker.New()}
		b.brokers = []*watched{one, two}
		b.begin(Options{Stores: []Store{{Name: "hangs", Drop: true, Store: slow}},
			Brokers: []Broker{{Name: "one", Broker: doubtful{one}}, {Name: "two", Broker: two}}})
		b.push(0, 8, "demo.noop")
		time.Sleep(time.Second)
		b.push(1, 100, "demo.noop")
		time.Sleep(10 * time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(1))
		begin := time.Now()
		b.stop()
		require.Less(t, time.Since(begin), 30*time.Second)
		_ = slow.Close()
	})
}

// New work in one queue is no reason to ask the others: queries can cost money.
func TestWakingAsksOnlyWhoWoke(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bundle{t: t, runner: newRunner(4, succeed), store: &failing{Store: memorystore.New()}}
		busy, dear := &watched{Broker: memorybroker.New()}, &watched{Broker: memorybroker.New()}
		b.brokers = []*watched{busy, dear}
		type waiter struct {
			*watched
			brokers.Waiter
		}
		b.begin(Options{Brokers: []Broker{{Name: "busy", Broker: waiter{busy, busy.Broker.(brokers.Waiter)}, CountFor: 200 * time.Millisecond},
			{Name: "dear", Broker: dear, CountFor: time.Minute}}})
		for range 1000 {
			b.push(0, 1, "demo.noop")
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.LessOrEqual(t, dear.stats.Load(), int64(3))
		b.stop()
	})
}

// late is a broker whose calls take their time: the settlement is done, its answer under way.
type late struct {
	*watched
	lease, settle time.Duration
}

func (l late) Lease(ctx context.Context, n int, ttl time.Duration) ([]brokers.Delivery, error) {
	ds, err := l.watched.Lease(ctx, n, ttl)
	time.Sleep(l.lease)
	return ds, err
}

func (l late) Settle(ctx context.Context, ss []brokers.Settlement) ([]task.ID, error) {
	lost, err := l.watched.Settle(ctx, ss)
	time.Sleep(l.settle)
	return lost, err
}

// A task that comes back while the answer to its settlement is still under way runs at once.
func TestComesBackWhileSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := func(j *pool.Job, _ <-chan process.Reason) pool.Outcome {
			if j.Attempt == 1 {
				return ended(task.Error)
			}
			return ended(task.Success)
		}
		b, w := lone(t, newRunner(4, run))
		b.begin(Options{MaxAttempts: 2, Backoff: func(int) time.Duration { return time.Millisecond },
			EmptySleep: 10 * time.Millisecond, Brokers: []Broker{{Name: "b", Broker: late{watched: w, settle: 300 * time.Millisecond}}}})
		id := b.push(0, 1, "demo.error")[0]
		time.Sleep(3 * time.Second)
		r, _ := b.record(id)
		require.Equal(t, 2, r.Run.Attempt)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.Zero(t, b.Held())
		b.stop()
	})
}

// What a slow broker hands over while the host stops is given back at once.
func TestLeasedWhileStopping(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, w := lone(t, newRunner(4, succeed))
		b.begin(Options{Brokers: []Broker{{Name: "b", Broker: late{watched: w, lease: 5 * time.Second}}}})
		b.push(0, 4, "demo.noop")
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		b.Drain(ctx, 5*time.Second)
		time.Sleep(10 * time.Second)
		require.Less(t, time.Since(begin), time.Minute)
		require.Equal(t, brokers.Stats{Ready: 4}, b.counts(0))
		b.stop()
	})
}

// The draw follows the ranks also while an urgent broker is being asked.
func TestDrawFollowsRanksOfSlowBrokers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func(*pool.Job, <-chan process.Reason) pool.Outcome {
			time.Sleep(100 * time.Millisecond)
			return ended(task.Success)
		}
		b := &bundle{t: t, runner: newRunner(8, slow), store: &failing{Store: memorystore.New()}}
		var o Options
		for i := range 2 {
			w := &watched{Broker: memorybroker.New()}
			b.brokers = append(b.brokers, w)
			l := late{watched: w}
			if i == 0 {
				l.lease = 40 * time.Millisecond
			}
			o.Brokers = append(o.Brokers, Broker{Name: fmt.Sprint(i), Priority: i, CountFor: 200 * time.Millisecond, Broker: l})
		}
		const n = 5000
		b.push(0, n, "urgent")
		b.push(1, n, "bulk")
		b.begin(o)
		time.Sleep(30 * time.Second)
		urgent, bulk := n-float64(b.counts(0).Ready), n-float64(b.counts(1).Ready)
		require.Greater(t, urgent+bulk, 1000.0)
		require.InDelta(t, 2./3, urgent/(urgent+bulk), 0.05)
		b.stop()
	})
}

// slow is a store that takes its time.
type slow struct{ metastore.Store }

func (s slow) Put(ctx context.Context, recs []task.Record) error {
	time.Sleep(100 * time.Millisecond)
	return s.Store.Put(ctx, recs)
}

// A host that holds as many leases as it may goes on as soon as some are settled.
func TestRoomForMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := Options{MaxHeld: 10, Stores: []Store{{Name: "slow", Store: slow{memorystore.New()}}}}
		b := start(t, newRunner(1000, succeed), o, 0)
		b.Tune(Tuning{EmptySleep: time.Second, BusySleep: time.Hour, MaxAttempts: 1, MaxCrashes: 3})
		b.push(0, 200, "demo.noop")
		most := 0
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			most = max(most, b.Held())
		}
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.Equal(t, 10, most)
		b.stop()
	})
}

// counting is a store that fails once and then takes everything, and remembers what.
type counting struct {
	metastore.Store
	mu    sync.Mutex
	calls int
	first chan struct{}
}

func (c *counting) Put(ctx context.Context, recs []task.Record) error {
	c.mu.Lock()
	c.calls++
	n := c.calls
	c.mu.Unlock()
	if n == 1 {
		<-c.first
		return errDown
	}
	return c.Store.Put(ctx, recs)
}

// Records that are written in two parts are confirmed only if both were.
func TestConfirmationOfParts(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the host ends: each part is tried once
	store := &counting{Store: memorystore.New(), first: make(chan struct{})}
	r := newRecorder(ctx, []Store{{Name: "r", Store: store}}, slog.New(slog.DiscardHandler))
	recs := make([]task.Record, recordsMost+10)
	for i := range recs {
		recs[i] = task.Record{ID: task.ID(fmt.Sprint(i)), Type: "x", Status: task.Completed}
	}
	confirmed := make(chan bool, 1)
	r.put(recs, func(ok bool) { confirmed <- ok })
	close(store.first)
	require.False(t, <-confirmed)
	r.close()
}

// Counts that are not remembered at all (task_count_caching_time = 0) still serve one draw.
func TestCountsAreNotRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bundle{t: t, runner: newRunner(4, succeed), store: &failing{Store: memorystore.New()}}
		var o Options
		for i := range 2 {
			w := &watched{Broker: memorybroker.New()}
			b.brokers = append(b.brokers, w)
			o.Brokers = append(o.Brokers, Broker{Name: fmt.Sprint(i), Priority: i, Broker: w})
			b.push(i, 50, "demo.noop")
		}
		b.begin(o)
		time.Sleep(5 * time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.Equal(t, brokers.Stats{}, b.counts(1))
		b.stop()
	})
}
