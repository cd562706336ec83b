package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/metastore"
	memorystore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runner stands in for a pool: it runs each job by a function of the test, a goroutine
// each, at most slots at once.
type runner struct {
	slots    int
	run      func(j *pool.Job, killed <-chan process.Reason) pool.Outcome
	outcomes chan []pool.Outcome
	changed  chan struct{}
	busy     atomic.Int32
	wg       sync.WaitGroup

	mu    sync.Mutex
	kills map[*pool.Job]chan process.Reason
	begun []task.ID
}

func newRunner(slots int, run func(*pool.Job, <-chan process.Reason) pool.Outcome) *runner {
	return &runner{slots: slots, run: run, outcomes: make(chan []pool.Outcome), changed: make(chan struct{}, 1),
		kills: map[*pool.Job]chan process.Reason{}}
}

func (r *runner) Submit(jobs []*pool.Job) error {
	for _, j := range jobs {
		kill := make(chan process.Reason, 1)
		r.mu.Lock()
		r.kills[j] = kill
		r.begun = append(r.begun, j.Task.ID)
		r.mu.Unlock()
		r.busy.Add(1)
		r.wg.Go(func() {
			o := r.run(j, kill)
			o.Job = j
			r.outcomes <- []pool.Outcome{o}
			r.busy.Add(-1)
			select {
			case r.changed <- struct{}{}:
			default:
			}
		})
	}
	return nil
}
func (r *runner) Outcomes() <-chan []pool.Outcome { return r.outcomes }
func (r *runner) Want() int                       { return max(0, r.slots-int(r.busy.Load())) }
func (r *runner) Changed() <-chan struct{}        { return r.changed }
func (r *runner) Drain()                          {}
func (r *runner) KillAll(reason process.Reason, _ string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.kills {
		select {
		case k <- reason:
		default:
		}
	}
}
func (r *runner) Kill(j *pool.Job, reason process.Reason, _ string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case r.kills[j] <- reason:
	default:
	}
}

func (r *runner) Cancel(j *pool.Job, grace time.Duration, _ string) {
	time.AfterFunc(grace, func() { r.Kill(j, process.ReasonCancelled, "") })
}

func ended(code task.ReturnCode) pool.Outcome {
	o := pool.Outcome{Kind: pool.Ended, Plugin: "demo", PID: 7, Started: time.Now(), Duration: time.Millisecond,
		Result: &pluginpb.Result{ReturnCode: int32(code), Response: []string{"one", "two"}, Duration: int64(time.Microsecond)}}
	if code.Failed() {
		o.Result.Failure = &pluginpb.Failure{Message: "it failed"}
	}
	return o
}

func succeed(*pool.Job, <-chan process.Reason) pool.Outcome { return ended(task.Success) }

// watched is a broker that counts its calls and fails when told to.
type watched struct {
	brokers.Broker
	stats, leases, extends, settles atomic.Int64
	fail                            atomic.Bool
	loseAll                         atomic.Bool
	noPush                          atomic.Bool
}

var errDown = errors.New("connection refused")

func (w *watched) Stats(ctx context.Context) (brokers.Stats, error) {
	w.stats.Add(1)
	if w.fail.Load() {
		return brokers.Stats{}, errDown
	}
	return w.Broker.Stats(ctx)
}
func (w *watched) Push(ctx context.Context, tasks []task.Task) error {
	if w.noPush.Load() {
		return errDown
	}
	return w.Broker.Push(ctx, tasks)
}
func (w *watched) Lease(ctx context.Context, n int, ttl time.Duration) ([]brokers.Delivery, error) {
	w.leases.Add(1)
	if w.fail.Load() {
		return nil, errDown
	}
	return w.Broker.Lease(ctx, n, ttl)
}
func (w *watched) Extend(ctx context.Context, ttl time.Duration, ds []brokers.Delivery) ([]task.ID, error) {
	w.extends.Add(1)
	if w.fail.Load() {
		return nil, errDown
	}
	if w.loseAll.Load() {
		var lost []task.ID
		for _, d := range ds {
			lost = append(lost, d.Task.ID)
		}
		return lost, nil
	}
	return w.Broker.Extend(ctx, ttl, ds)
}
func (w *watched) Settle(ctx context.Context, ss []brokers.Settlement) ([]task.ID, error) {
	w.settles.Add(1)
	if w.fail.Load() {
		return nil, errDown
	}
	return w.Broker.Settle(ctx, ss)
}

// failing is a store that fails when told to.
type failing struct {
	metastore.Store
	fail atomic.Bool
}

func (f *failing) Put(ctx context.Context, recs []task.Record) error {
	if f.fail.Load() {
		return errDown
	}
	return f.Store.Put(ctx, recs)
}

// bundle is a dispatcher over brokers in memory, inside a synctest bubble.
type bundle struct {
	*Dispatcher
	t       *testing.T
	brokers []*watched
	store   *failing
	runner  *runner
}

func start(t *testing.T, r *runner, o Options, priorities ...int) *bundle {
	t.Helper()
	b := &bundle{t: t, runner: r, store: &failing{Store: memorystore.New()}}
	for i, p := range priorities {
		w := &watched{Broker: memorybroker.New()}
		b.brokers = append(b.brokers, w)
		o.Brokers = append(o.Brokers, Broker{Name: fmt.Sprintf("b%d", i), Priority: p, CountFor: 200 * time.Millisecond, Broker: w})
	}
	return b.begin(o)
}

// lone returns a bundle over one broker, whose dispatcher is still to begin.
func lone(t *testing.T, r *runner) (*bundle, *watched) {
	w := &watched{Broker: memorybroker.New()}
	return &bundle{t: t, runner: r, store: &failing{Store: memorystore.New()}, brokers: []*watched{w}}, w
}

func (b *bundle) begin(o Options) *bundle {
	o.Stores = append(o.Stores, Store{Name: "records", Store: b.store, Drop: false})
	o.Logger, o.Host = slog.New(slog.DiscardHandler), "test"
	if o.Pool == nil {
		o.Pool = b.runner
	}
	if o.Lease == 0 {
		o.Lease = 30 * time.Second
	}
	if o.EmptySleep == 0 {
		o.EmptySleep = 500 * time.Millisecond
	}
	o.BusySleep = 200 * time.Millisecond
	b.Dispatcher = New(o)
	return b
}

// stop ends the dispatcher as a host does.
func (b *bundle) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	b.Drain(ctx, 5*time.Second)
	b.runner.wg.Wait()
	close(b.runner.outcomes)
	b.Close()
	for _, w := range b.brokers {
		_ = w.Broker.Close()
	}
	_ = b.store.Close()
}

func (b *bundle) push(broker, n int, taskType string) (ids []task.ID) {
	tasks := make([]task.Task, n)
	for i := range tasks {
		tasks[i] = task.Task{ID: task.NewID(), Type: taskType, PushedAt: time.Now()}
		ids = append(ids, tasks[i].ID)
	}
	require.NoError(b.t, b.brokers[broker].Broker.Push(context.Background(), tasks))
	return ids
}

func (b *bundle) counts(broker int) brokers.Stats {
	st, err := b.brokers[broker].Broker.Stats(context.Background())
	require.NoError(b.t, err)
	return st
}

func (b *bundle) record(id task.ID) (task.Record, bool) {
	recs, err := b.store.Get(context.Background(), []task.ID{id})
	require.NoError(b.t, err)
	if len(recs) == 0 {
		return task.Record{}, false
	}
	return recs[0], true
}

func TestRunRecordSettle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newRunner(4, succeed), Options{}, 0)
		ids := b.push(0, 300, "demo.noop")
		time.Sleep(2 * time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		for _, id := range ids {
			r, ok := b.record(id)
			require.True(t, ok)
			require.Equal(t, task.Completed, r.Status)
			require.Equal(t, "one two", r.RespM)
			require.InDelta(t, 1e-6, r.ExTime, 1e-9)
			require.Equal(t, "test", r.Run.Host)
		}
		require.Zero(t, b.Held())
		b.stop()
	})
}

// The draw follows the ranks: priorities 1, 1 and 5 have weights 1, 1 and 1/2.
func TestDrawFollowsRanks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func(*pool.Job, <-chan process.Reason) pool.Outcome {
			time.Sleep(10 * time.Millisecond)
			return ended(task.Success)
		}
		b := start(t, newRunner(1, slow), Options{}, 1, 1, 5)
		const n = 3000
		for i := range b.brokers {
			b.push(i, n, fmt.Sprintf("from.b%d", i))
		}
		time.Sleep(20 * time.Second) // about 2,000 draws
		got := [3]float64{}
		var sum float64
		for i := range got {
			got[i] = n - float64(b.counts(i).Ready)
			sum += got[i]
		}
		require.Greater(t, sum, 1000.0)
		require.InDelta(t, 0.4, got[0]/sum, 0.05, got)
		require.InDelta(t, 0.4, got[1]/sum, 0.05, got)
		require.InDelta(t, 0.2, got[2]/sum, 0.05, got)
		b.stop()
	})
}

// task_count_caching_time really cuts queries, and empty_queue_sleep_time bounds them.
func TestQueriesAreSaved(t *testing.T) {
	t.Parallel()
	count := func(countFor, emptySleep time.Duration, brokersN int) (stats, leases int64) {
		synctest.Test(t, func(t *testing.T) {
			b := &bundle{t: t, runner: newRunner(4, succeed), store: &failing{Store: memorystore.New()}}
			var o Options
			for i := range brokersN {
				// Without a Waiter, as a plain network broker.
				w := &watched{Broker: memorybroker.New()}
				b.brokers = append(b.brokers, w)
				o.Brokers = append(o.Brokers, Broker{Name: fmt.Sprint(i), CountFor: countFor, Broker: w})
			}
			o.EmptySleep = emptySleep
			b.begin(o)
			time.Sleep(100 * time.Second)
			for _, w := range b.brokers {
				stats += w.stats.Load()
				leases += w.leases.Load()
			}
			b.stop()
		})
		return stats, leases
	}
	// One broker: nothing to choose, so nothing to count; one lease a sleep.
	stats, leases := count(200*time.Millisecond, 500*time.Millisecond, 1)
	require.Zero(t, stats)
	require.LessOrEqual(t, leases, int64(205))
	require.GreaterOrEqual(t, leases, int64(150))
	// Two: counted once a sleep each, and never leased from while empty.
	stats, leases = count(200*time.Millisecond, 500*time.Millisecond, 2)
	require.Zero(t, leases)
	require.LessOrEqual(t, stats, int64(410))
	require.GreaterOrEqual(t, stats, int64(300))
	// A longer caching time cuts them.
	stats, _ = count(5*time.Second, 500*time.Millisecond, 2)
	require.LessOrEqual(t, stats, int64(42))
	require.GreaterOrEqual(t, stats, int64(30))
}

func TestLeasesAreRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		long := func(*pool.Job, <-chan process.Reason) pool.Outcome {
			time.Sleep(10 * time.Minute)
			return ended(task.Success)
		}
		b := start(t, newRunner(2, long), Options{Lease: 10 * time.Second}, 0)
		ids := b.push(0, 2, "demo.slow")
		time.Sleep(11 * time.Minute)
		for _, id := range ids {
			r, ok := b.record(id)
			require.True(t, ok)
			require.Equal(t, 1, r.Run.Attempt)
			require.Equal(t, 1, r.Run.Delivery%1_000_000)
		}
		require.Len(t, b.runner.begun, 2, "each ran once")
		require.Equal(t, brokers.Stats{}, b.counts(0))
		b.stop()
	})
}

// A host that has lost a lease kills the task and neither records nor settles it.
func TestLostLease(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"refused", "unreachable"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				reasons := make(chan process.Reason, 1)
				long := func(j *pool.Job, killed <-chan process.Reason) pool.Outcome {
					r := <-killed
					reasons <- r
					return pool.Outcome{Kind: pool.Died, Exit: process.Exit{Reason: r}}
				}
				b := start(t, newRunner(1, long), Options{Lease: 10 * time.Second}, 0)
				id := b.push(0, 1, "demo.slow")[0]
				time.Sleep(time.Second)
				if how == "refused" {
					b.brokers[0].loseAll.Store(true)
				} else {
					b.brokers[0].fail.Store(true)
				}
				require.Equal(t, process.ReasonLease, <-reasons)
				b.brokers[0].fail.Store(true) // so that it is not leased again
				time.Sleep(time.Second)
				_, ok := b.record(id)
				require.False(t, ok, "it is not ours to record")
				require.Zero(t, b.brokers[0].settles.Load())
				require.Zero(t, b.Held())
				b.stop()
			})
		})
	}
}

func TestStoreDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newRunner(4, succeed), Options{Lease: 10 * time.Second}, 0)
		b.store.fail.Store(true)
		ids := b.push(0, 20, "demo.noop")
		time.Sleep(time.Minute)
		require.EqualValues(t, 20, b.counts(0).Leased, "not recorded, so not settled, and the leases are kept")
		require.Contains(t, b.stores.status()[0].Problem, "refused")
		b.store.fail.Store(false)
		time.Sleep(time.Minute)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		for _, id := range ids {
			_, ok := b.record(id)
			require.True(t, ok)
		}
		require.Len(t, b.runner.begun, 20)
		b.stop()
	})
}

// picky is a store that refuses some additional meta info for good.
type picky struct{ metastore.Store }

func (p picky) Put(ctx context.Context, recs []task.Record) error {
	for _, r := range recs {
		if r.Meta["poison"] != nil {
			return errors.New("cannot encode poison")
		}
	}
	return p.Store.Put(ctx, recs)
}

// A record that a store refuses for good holds up no other, and is written as far as it can.
func TestRefusedMetaInfo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := func(j *pool.Job, _ <-chan process.Reason) pool.Outcome {
			o := ended(task.Success)
			if j.Task.Type == "demo.poison" {
				o.Result.Meta = []byte(`{"poison":1}`)
			}
			return o
		}
		b := &bundle{t: t, runner: newRunner(20, run), store: &failing{Store: picky{memorystore.New()}}}
		w := &watched{Broker: memorybroker.New()}
		b.brokers = []*watched{w}
		ids := b.push(0, 10, "demo.noop")
		ids = append(ids, b.push(0, 2, "demo.poison")...)
		ids = append(ids, b.push(0, 10, "demo.noop")...)
		b.begin(Options{Brokers: []Broker{{Name: "b", Broker: w}}})
		time.Sleep(time.Minute)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		for _, id := range ids {
			r, ok := b.record(id)
			require.True(t, ok)
			require.Equal(t, r.Type == "demo.poison", r.Run.Note != "")
		}
		b.stop()
	})
}

func TestStoreDownMayBeDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := &failing{Store: memorystore.New()}
		down.fail.Store(true)
		b := start(t, newRunner(4, succeed), Options{Stores: []Store{{Name: "down", Drop: true, Store: down}}}, 0)
		b.push(0, 20, "demo.noop")
		time.Sleep(time.Minute)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.EqualValues(t, 20, b.stores.status()[0].Waiting, "it is tried on")
		down.fail.Store(false)
		time.Sleep(time.Minute)
		require.Zero(t, b.stores.status()[0].Waiting)
		b.stop()
		_ = down.Close()
	})
}

func TestOneBrokerDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newRunner(4, succeed), Options{}, 0, 1)
		b.brokers[0].fail.Store(true)
		b.push(0, 10, "demo.noop")
		b.push(1, 100, "demo.noop")
		time.Sleep(30 * time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(1))
		require.Contains(t, b.Status()[0].Problem, "refused")
		b.brokers[0].fail.Store(false)
		time.Sleep(30 * time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(0), "work goes on by itself")
		require.Empty(t, b.Status()[0].Problem)
		b.stop()
	})
}

func TestRetriesThenDeadLetter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen atomic.Int64
		fail := func(j *pool.Job, _ <-chan process.Reason) pool.Outcome {
			seen.Add(1)
			o := ended(task.Error)
			o.Result.Failure.Permanent = j.Task.Type == "demo.hopeless"
			return o
		}
		b := start(t, newRunner(4, fail), Options{MaxAttempts: 3, Backoff: func(int) time.Duration { return time.Minute }}, 0)
		id := b.push(0, 1, "demo.error")[0]
		time.Sleep(30 * time.Second)
		r, _ := b.record(id)
		require.Equal(t, task.Pending, r.Status)
		require.Equal(t, task.Error, r.RetC)
		require.False(t, r.Run.Retry.IsZero())
		require.EqualValues(t, 1, b.counts(0).Scheduled)
		time.Sleep(3 * time.Minute)
		r, _ = b.record(id)
		require.Equal(t, task.Completed, r.Status)
		require.Equal(t, 3, r.Run.Attempt)
		require.EqualValues(t, 3, seen.Load())
		require.EqualValues(t, 1, b.counts(0).Dead)

		b.push(0, 1, "demo.hopeless")
		time.Sleep(5 * time.Minute)
		require.EqualValues(t, 4, seen.Load(), "a permanent failure is not retried")
		require.EqualValues(t, 2, b.counts(0).Dead)
		b.stop()
	})
}

// A host died between record and ack: the task is settled by its record, not run again.
func TestRecordedAttemptIsOnlyAcked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, w := lone(t, newRunner(4, succeed))
		done := b.push(0, 1, "demo.noop")[0]
		unknown := b.push(0, 1, "demo.noop")[0]
		_, err := w.Broker.Lease(t.Context(), 2, time.Second) // the host that dies
		require.NoError(t, err)
		require.NoError(t, b.store.Put(t.Context(), []task.Record{{ID: done, Status: task.Completed, RetC: task.Success, Type: "demo.noop",
			Run: task.Run{Attempt: 1, Delivery: task.DeliveryOrder(time.Now(), 1), Ended: time.Now()}}}))
		time.Sleep(2 * time.Second)
		b.begin(Options{Brokers: []Broker{{Name: "b", Broker: w}}})
		time.Sleep(10 * time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.Equal(t, []task.ID{unknown}, b.runner.begun)
		b.stop()
	})
}

// An id pushed anew after its task has ended is a new task: it runs, and its record replaces
// the old one, whatever the old one says.
func TestSameIDPushedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newRunner(1, succeed), Options{}, 0)
		push := func() {
			require.NoError(t, b.brokers[0].Push(t.Context(), []task.Task{{ID: "nightly", Type: "demo.noop", PushedAt: time.Now()}}))
			time.Sleep(time.Minute)
		}
		push()
		first, _ := b.record("nightly")
		push()
		second, _ := b.record("nightly")
		require.True(t, second.Run.Ended.After(first.Run.Ended))
		// Even where a lease of it was lost, so that its record is looked at.
		require.NoError(t, b.brokers[0].Broker.Push(t.Context(), []task.Task{{ID: "nightly", Type: "demo.noop", PushedAt: time.Now()}}))
		_, err := b.brokers[0].Broker.Lease(t.Context(), 1, time.Second) // before the host's next look
		require.NoError(t, err)
		time.Sleep(time.Minute)
		third, _ := b.record("nightly")
		require.True(t, third.Run.Ended.After(second.Run.Ended))
		require.Len(t, b.runner.begun, 3)
		b.stop()
	})
}

// A task that takes its host with it, again and again, ends in the dead letters.
func TestTaskThatKillsItsHosts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{Broker: memorybroker.New()}
		store := &failing{Store: memorystore.New()}
		b := &bundle{t: t, brokers: []*watched{w}, store: store}
		id := b.push(0, 1, "demo.poison")[0]
		runs := 0
		told := &reports{}
		for range 10 { // hosts
			ds, err := w.Broker.Lease(t.Context(), 1, time.Second)
			require.NoError(t, err)
			if len(ds) == 0 {
				break
			}
			b.runner = newRunner(1, succeed)
			host := &bundle{t: t, runner: b.runner, brokers: b.brokers, store: store}
			d := &Dispatcher{o: Options{MaxCrashes: 3, Meter: noMeter{}, Reports: told, Logger: slog.New(slog.DiscardHandler), TimeLimit: func(string) time.Duration { return 0 }}, unserved: map[string]*park{}}
			d.ctx, d.stop = context.WithCancel(context.Background())
			d.stores = newRecorder(d.ctx, []Store{{Name: "r", Store: store}}, d.o.Logger)
			s := newSource(d, Broker{Name: "b", Broker: w})
			host.Dispatcher = d
			dv := &delivery{Delivery: ds[0], source: s}
			run := []*delivery{dv}
			if dv.Repeated {
				run = d.examine(d.ctx, run)
			}
			if len(run) > 0 {
				runs++ // and the host dies
			} else {
				batch, ok := s.settlements.take(1)
				require.True(t, ok)
				_, err := w.Broker.Settle(t.Context(), batch)
				require.NoError(t, err)
			}
			d.stop()
			d.stores.close()
			time.Sleep(2 * time.Second) // its lease ends
		}
		require.Equal(t, 4, runs, "once unsuspected, then max_crashes times")
		st, err := w.Broker.Stats(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, st.Dead)
		r, _ := b.record(id)
		require.Equal(t, task.Error, r.RetC)
		require.Contains(t, r.RespM, "its host was lost 3 times while it ran")
		require.Equal(t, []string{"dead letter false 1 final: its host was lost 3 times while it ran"}, told.said())
		_ = w.Broker.Close()
	})
}

func TestUnservedIsParked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var served atomic.Bool
		run := func(*pool.Job, <-chan process.Reason) pool.Outcome {
			if !served.Load() {
				return pool.Outcome{Kind: pool.Unserved, Reason: `no plugin serves task type "x"`}
			}
			return ended(task.Success)
		}
		b := start(t, newRunner(4, run), Options{}, 0)
		id := b.push(0, 1, "x")[0]
		time.Sleep(5 * time.Minute)
		require.Equal(t, brokers.Stats{Scheduled: 1, Parked: 1}, b.counts(0))
		b.runner.mu.Lock()
		begun := len(b.runner.begun)
		b.runner.mu.Unlock()
		require.LessOrEqual(t, begun, 45, "it is not tried all the time")
		served.Store(true)
		time.Sleep(15 * time.Second)
		r, ok := b.record(id)
		require.True(t, ok)
		require.Equal(t, 1, r.Run.Attempt)
		b.stop()
	})
}

func TestHostileResults(t *testing.T) {
	t.Parallel()
	d := &Dispatcher{}
	for _, tt := range []struct {
		name   string
		result *pluginpb.Result
		check  func(t *testing.T, r task.Record)
	}{
		{"return code", &pluginpb.Result{ReturnCode: -9}, func(t *testing.T, r task.Record) { require.Equal(t, task.Unknown, r.RetC) }},
		{"meta", &pluginpb.Result{ReturnCode: 1, Meta: []byte(`[1,`)}, func(t *testing.T, r task.Record) {
			require.Nil(t, r.Meta)
			require.Contains(t, r.Run.Note, "left out")
		}},
		{"times", &pluginpb.Result{ReturnCode: 1, Started: -5, Duration: 1 << 62}, func(t *testing.T, r task.Record) {
			require.InDelta(t, 1, r.ExTime, 1e-9)
			require.Equal(t, int64(1000), r.ExStart.Unix())
		}},
		{"response", &pluginpb.Result{ReturnCode: 1, Response: []string{"a\xff", string(make([]byte, 2<<20))}}, func(t *testing.T, r task.Record) {
			require.Less(t, len(r.RespM), maxResponse+10)
			require.Contains(t, r.RespM, "a\uFFFD")
		}},
		{"states", &pluginpb.Result{ReturnCode: 1, States: make([]int32, 1<<20)}, func(t *testing.T, r task.Record) {
			require.Len(t, r.Run.States, maxStates)
		}},
		{"success with a failure", &pluginpb.Result{ReturnCode: 1, Failure: &pluginpb.Failure{Message: "no"}}, func(t *testing.T, r task.Record) {
			require.Equal(t, task.Error, r.RetC)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := &pool.Outcome{Job: &pool.Job{}, Kind: pool.Ended, Result: tt.result, Started: time.Unix(1000, 0), Duration: time.Second}
			var rec task.Record
			d.record(o, &delivery{}, &rec)
			tt.check(t, rec)
		})
	}
}
