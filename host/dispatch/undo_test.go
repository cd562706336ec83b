package dispatch

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/pluginpb"
	memorystore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

// revertible starts a dispatcher whose tasks of type "pay" can be undone, by tasks of type
// "refund".
func revertible(t *testing.T, o Options, run func(*pool.Job, <-chan process.Reason) pool.Outcome) *bundle {
	t.Helper()
	w := &watched{Broker: memorybroker.New()}
	set, err := brokers.NewSet(brokers.Named{Name: "b0", Broker: w})
	require.NoError(t, err)
	o.Revertible = func(typ string) bool { return typ == "pay" || typ == "refund" }
	o.Pusher = NewPusher(set)
	o.Brokers = []Broker{{Name: "b0", CountFor: 200 * time.Millisecond, Broker: w}}
	b := &bundle{t: t, runner: newRunner(4, run), brokers: []*watched{w}, store: &failing{Store: memorystore.New()}}
	return b.begin(o)
}

func (b *bundle) stopReverting() {
	b.stop()
	b.o.Pusher.Close()
}

var refund = &pluginpb.Task{Type: "refund", MaxAttempts: 3, Params: []byte(`{"amount":5}`), Id: "of the plugin's choice"}

// failing ends like a task of "pay" that returns an error; its plugin says what would undo it.
func failedWith(undo *pluginpb.Task) pool.Outcome {
	o := ended(task.Error)
	o.Result.Undo = undo
	return o
}

func died(reason process.Reason) pool.Outcome {
	return pool.Outcome{Kind: pool.Died, Plugin: "shop", PID: 7, Started: time.Now(), Exit: process.Exit{Reason: reason}}
}

func (b *bundle) dead() (ids []task.ID) {
	items, _, err := b.brokers[0].Broker.(brokers.Inspector).List(context.Background(), brokers.StateDead, "", 100)
	require.NoError(b.t, err)
	for _, it := range items {
		ids = append(ids, it.Task.ID)
	}
	return ids
}

func TestUndo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// run is how each attempt ends; reverted what the plugin says when it is asked.
		run, reverted func() pool.Outcome
		want          *task.Undo
		asked         int // how often the plugin is asked
	}{
		{"an error", func() pool.Outcome { return failedWith(refund) }, nil, &task.Undo{State: task.UndoPushed, Type: "refund"}, 0},
		{"an error, nothing to undo", func() pool.Outcome { return failedWith(nil) }, nil, nil, 0},
		{"a crash", func() pool.Outcome { return died(process.ReasonSignal) },
			func() pool.Outcome { o := ended(task.Success); o.Result.Undo = refund; return o }, &task.Undo{State: task.UndoPushed, Type: "refund"}, 1},
		{"a time-out", func() pool.Outcome { return died(process.ReasonTimeout) },
			func() pool.Outcome { o := ended(task.Success); o.Result.Undo = refund; return o }, &task.Undo{State: task.UndoPushed, Type: "refund"}, 1},
		{"a crash, nothing to undo", func() pool.Outcome { return died(process.ReasonSignal) },
			func() pool.Outcome { return ended(task.Success) }, nil, 1},
		{"a crash, and again when asked", func() pool.Outcome { return died(process.ReasonSignal) },
			func() pool.Outcome { return died(process.ReasonExit) }, &task.Undo{State: task.UndoFailed, Error: "its plugin was asked for it: "}, 1},
		{"a crash, and it cannot say", func() pool.Outcome { return died(process.ReasonSignal) },
			func() pool.Outcome { return ended(task.Error) }, &task.Undo{State: task.UndoFailed, Error: "it failed"}, 1},
		{"no task at all", func() pool.Outcome { return failedWith(&pluginpb.Task{Type: "no task", Params: []byte("[")}) }, nil,
			&task.Undo{State: task.UndoFailed, Error: `task type "no task" has a character`}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var runs, asked, refunds atomic.Int64
				b := revertible(t, Options{MaxAttempts: 2}, func(j *pool.Job, _ <-chan process.Reason) pool.Outcome {
					switch {
					case j.Revert:
						asked.Add(1)
						return c.reverted()
					case j.Task.Type == "refund":
						refunds.Add(1)
						require.JSONEq(t, `{"amount":5}`, string(j.Task.Params))
						return failedWith(refund) // and is not undone itself
					}
					runs.Add(1)
					return c.run()
				})
				id := b.push(0, 1, "pay")[0]
				time.Sleep(time.Minute)
				rec, ok := b.record(id)
				require.True(t, ok)
				require.True(t, rec.RetC.Failed())
				require.Equal(t, task.Completed, rec.Status)
				require.Contains(t, b.dead(), id)
				require.EqualValues(t, 2, runs.Load(), "it is undone after the last attempt, and not run again")
				require.EqualValues(t, c.asked, asked.Load())
				require.Zero(t, b.Held())
				if c.want == nil || c.want.State == task.UndoFailed {
					require.Zero(t, refunds.Load())
				}
				switch {
				case c.want == nil:
					require.Nil(t, rec.Run.Undo)
				case c.want.State == task.UndoFailed:
					require.Equal(t, task.UndoFailed, rec.Run.Undo.State)
					require.Contains(t, rec.Run.Undo.Error, c.want.Error)
				default:
					undo := *rec.Run.Undo
					require.NotEmpty(t, undo.ID)
					other, ok := b.record(undo.ID)
					require.True(t, ok)
					require.Equal(t, id, other.Run.Undoes)
					require.Nil(t, other.Run.Undo)
					require.EqualValues(t, 3, refunds.Load(), "its attempts, as many as its plugin says")
					undo.ID = ""
					require.Equal(t, *c.want, undo)
				}
				b.stopReverting()
			})
		})
	}
}

// The undo is queued once, also where the host that began with it was lost.
func TestUndoAfterALostHost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		pushed  bool // the host that was lost has pushed the undo, and it has run
		refunds int
	}{{"before it was pushed", false, 1}, {"after it was pushed", true, 0}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var runs, asked, refunds atomic.Int64
				b := revertible(t, Options{}, func(j *pool.Job, _ <-chan process.Reason) pool.Outcome {
					switch {
					case j.Revert:
						asked.Add(1)
						o := ended(task.Success)
						o.Result.Undo = refund
						return o
					case j.Task.Type == "refund":
						refunds.Add(1)
					default:
						runs.Add(1)
					}
					return ended(task.Success)
				})
				require.NoError(t, b.brokers[0].Broker.Push(t.Context(), []task.Task{{ID: "t1", Type: "pay", PushedAt: time.Now()}}))
				got, err := b.brokers[0].Broker.Lease(t.Context(), 1, time.Second) // the host that is lost
				require.NoError(t, err)
				require.Len(t, got, 1)
				first := &delivery{Delivery: got[0]}
				rec := task.Record{ID: "t1", Type: "pay", Status: task.Completed, RetC: task.Error, Run: first.run("lost")}
				rec.Run.Ended, rec.Run.Undo = time.Now(), &task.Undo{State: task.UndoPending}
				require.NoError(t, b.store.Put(t.Context(), []task.Record{rec}))
				if c.pushed {
					require.NoError(t, b.store.Put(t.Context(), []task.Record{{ID: undoID("t1", rec.Run.Delivery), Type: "refund", Status: task.Completed}}))
				}
				time.Sleep(time.Minute)
				require.Zero(t, runs.Load(), "it had ended")
				require.EqualValues(t, 1, asked.Load())
				require.EqualValues(t, c.refunds, refunds.Load())
				r, _ := b.record("t1")
				require.Equal(t, task.UndoPushed, r.Run.Undo.State)
				require.Equal(t, []task.ID{"t1"}, b.dead())
				b.stopReverting()
			})
		})
	}
}

// While the undo cannot be queued the failed task is not settled, and its lease is renewed.
func TestUndoWaitsForTheBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var refunds atomic.Int64
		b := revertible(t, Options{Lease: 10 * time.Second}, func(j *pool.Job, _ <-chan process.Reason) pool.Outcome {
			if j.Task.Type == "refund" {
				refunds.Add(1)
				return ended(task.Success)
			}
			return failedWith(refund)
		})
		b.brokers[0].noPush.Store(true)
		id := b.push(0, 1, "pay")[0]
		time.Sleep(time.Minute)
		require.Empty(t, b.dead())
		require.EqualValues(t, 1, b.counts(0).Leased)
		r, _ := b.record(id)
		require.Equal(t, task.UndoPending, r.Run.Undo.State)
		b.brokers[0].noPush.Store(false)
		time.Sleep(time.Minute)
		require.Equal(t, []task.ID{id}, b.dead())
		require.EqualValues(t, 1, refunds.Load())
		b.stopReverting()
	})
}

func TestUndoID(t *testing.T) {
	t.Parallel()
	require.Equal(t, task.ID("t1.undo-rs"), undoID("t1", 1000))
	require.NotEqual(t, undoID("t1", 1000), undoID("t1", 1001), "another failure")
	long := undoID(task.ID(strings.Repeat("x", task.MaxIDBytes)), 1_800_000_000_000_001)
	require.NoError(t, long.Validate())
	require.NotEqual(t, long, undoID(task.ID(strings.Repeat("y", task.MaxIDBytes)), 1_800_000_000_000_001))
}
