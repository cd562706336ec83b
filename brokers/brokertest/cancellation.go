package brokertest

import (
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// canceller returns the broker as a Canceller, or skips the case.
func (e *env) canceller(b brokers.Broker) brokers.Canceller {
	c, ok := b.(brokers.Canceller)
	if !ok {
		e.Skip("the broker is no brokers.Canceller")
	}
	return c
}

// wish makes a cancellation that can be told from others.
func (e *env) wish(reason string) brokers.Cancellation {
	return brokers.Cancellation{At: e.q.Now().UTC().Truncate(time.Millisecond), Grace: 1500 * time.Millisecond, Reason: reason}
}

// cancelTask cancels a task that is in the given state.
func (e *env) cancelTask(c brokers.Canceller, id task.ID, state brokers.State, w brokers.Cancellation) brokers.Item {
	e.Helper()
	it, err := c.Cancel(e.ctx(), id, w)
	require.NoError(e.T, err)
	require.Equal(e.T, id, it.ID)
	require.Equal(e.T, state, it.State)
	return it
}

// marks returns the marks on leased tasks.
func (e *env) marks(c brokers.Canceller, ds ...brokers.Delivery) map[task.ID]brokers.Cancellation {
	e.Helper()
	m, err := c.Cancelled(e.ctx(), ds)
	require.NoError(e.T, err)
	return m
}

func (e *env) sameWish(want, got brokers.Cancellation) {
	e.Helper()
	require.Equal(e.T, want.Reason, got.Reason)
	require.Equal(e.T, want.Grace, got.Grace)
	require.True(e.T, want.At.Equal(got.At), "at: wished %v, got %v", want.At, got.At)
}

var cancellationCases = []testCase{
	{"waiting ones are removed", func(e *env) {
		a, b := e.open(), e.open()
		c := e.canceller(b)
		ready := e.push(a, 2)
		scheduled := e.pushAt(a, e.q.Now().Add(time.Hour))
		it := e.cancelTask(c, ready[0].ID, brokers.StateReady, e.wish("no"))
		e.sameTask(ready[0], it.Task)
		e.cancelTask(c, scheduled.ID, brokers.StateScheduled, e.wish("no"))
		e.stats(a, brokers.Stats{Ready: 1})
		_, err := c.Cancel(e.ctx(), ready[0].ID, e.wish("again"))
		require.ErrorIs(e.T, err, brokers.ErrNotFound)
		_, err = c.Cancel(e.ctx(), "not-there", e.wish("no"))
		require.ErrorIs(e.T, err, brokers.ErrNotFound)
		d := e.lease1(a, long)
		require.Equal(e.T, ready[1].ID, d.Task.ID)
		require.Nil(e.T, d.Cancel)
		e.settle(a, brokers.Done, d)
		e.empty(a)
	}},
	{"the id of a removed one can be used again", func(e *env) {
		b := e.open()
		c := e.canceller(b)
		ts := e.push(b, 1)
		e.settle(b, brokers.Retry, e.lease1(b, long))
		it := e.cancelTask(c, ts[0].ID, brokers.StateReady, e.wish("no"))
		require.Equal(e.T, 1, it.Attempt)
		require.Equal(e.T, 1, it.Sequence)
		require.NoError(e.T, b.Push(e.ctx(), ts))
		d := e.lease1(b, long)
		require.Equal(e.T, 1, d.Attempt)
		require.Nil(e.T, d.Cancel)
	}},
	{"a leased one is marked", func(e *env) {
		a, b := e.open(), e.open()
		c := e.canceller(b)
		ts := e.push(a, 3)
		ds := byID(ts, e.lease(a, 3, long))
		require.Empty(e.T, e.marks(e.canceller(a), ds...))
		first, w := e.wish("first"), e.wish("šuma")
		e.cancelTask(c, ts[1].ID, brokers.StateLeased, first)
		e.sameWish(first, e.marks(e.canceller(a), ds...)[ts[1].ID])
		it := e.cancelTask(c, ts[1].ID, brokers.StateLeased, w)
		e.sameTask(ts[1], it.Task)
		got := e.marks(e.canceller(a), ds...)
		require.Len(e.T, got, 1)
		e.sameWish(w, got[ts[1].ID])
		require.Empty(e.T, e.marks(e.canceller(a), ds[0], ds[2]))
		require.Empty(e.T, e.marks(e.canceller(a)))
		e.stats(a, brokers.Stats{Leased: 3})

		// It is still the holder's: it settles it, and with that the mark is gone.
		lost, err := a.Extend(e.ctx(), long, ds)
		require.NoError(e.T, err)
		require.Empty(e.T, lost)
		e.settle(a, brokers.Done, ds...)
		require.NoError(e.T, b.Push(e.ctx(), ts[1:2]))
		d := e.lease1(b, long)
		require.Nil(e.T, d.Cancel, "the id's next life is not cancelled")
		require.Empty(e.T, e.marks(c, d))
		e.settle(b, brokers.Done, d)
		e.empty(b)
	}},
	{"the mark outlives the lease", func(e *env) {
		b := e.open()
		c := e.canceller(b)
		ts := e.push(b, 3)
		ds := byID(ts, e.lease(b, 3, long))
		w := e.wish("stop it")
		for _, t := range ts {
			e.cancelTask(c, t.ID, brokers.StateLeased, w)
		}
		_, err := b.Extend(e.ctx(), e.h.Unit, ds[2:])
		require.NoError(e.T, err)
		e.settle(b, brokers.Retry, ds[0])
		e.settle(b, brokers.Release, ds[1])
		e.pass(e.h.Unit)
		for _, d := range e.lease(b, 3, long) {
			require.NotNil(e.T, d.Cancel, "task %s", d.Task.ID)
			e.sameWish(w, *d.Cancel)
			e.settle(b, brokers.Done, d)
		}
		e.empty(b)
	}},
	{"a marked one that waits again is removed", func(e *env) {
		b := e.open()
		c := e.canceller(b)
		ts := e.push(b, 1)
		d := e.lease1(b, long)
		e.cancelTask(c, ts[0].ID, brokers.StateLeased, e.wish("stop it"))
		e.settle(b, brokers.Release, d)
		e.cancelTask(c, ts[0].ID, brokers.StateReady, e.wish("now"))
		e.empty(b)
	}},
	{"a lease that has ended is no lease", func(e *env) {
		b := e.open()
		c := e.canceller(b)
		ts := e.push(b, 1)
		d := e.lease1(b, e.h.Unit)
		e.pass(e.h.Unit)
		e.cancelTask(c, ts[0].ID, brokers.StateReady, e.wish("no"))
		lost, err := b.Settle(e.ctx(), settlements(brokers.Retry, []brokers.Delivery{d}))
		require.NoError(e.T, err)
		require.Equal(e.T, ids(ts), lost, "its late holder brings it not back")
		e.empty(b)
	}},
	{"a dead letter is left alone", func(e *env) {
		b := e.open()
		c := e.canceller(b)
		ts := e.push(b, 2)
		ds := byID(ts, e.lease(b, 2, long))
		e.cancelTask(c, ts[1].ID, brokers.StateLeased, e.wish("too late"))
		e.settle(b, brokers.Bury, ds...)
		e.cancelTask(c, ts[0].ID, brokers.StateDead, e.wish("no"))
		e.stats(b, brokers.Stats{Dead: 2})
		if i, ok := b.(brokers.Inspector); ok {
			missing, err := i.Requeue(e.ctx(), ids(ts))
			require.NoError(e.T, err)
			require.Empty(e.T, missing)
			for _, d := range e.lease(b, 2, long) {
				require.Nil(e.T, d.Cancel, "put back, it is to run")
			}
		}
	}},
	{"one among a thousand leases", func(e *env) {
		b := e.open()
		c := e.canceller(b)
		ts := e.push(b, 1000)
		ds := byID(ts, e.lease(b, 1000, long))
		for _, n := range []int{0, 500, 999} {
			e.cancelTask(c, ts[n].ID, brokers.StateLeased, e.wish("this one"))
		}
		got := e.marks(c, ds...)
		require.Len(e.T, got, 3)
		require.Contains(e.T, got, ts[500].ID)
		e.settle(b, brokers.Done, ds...)
		e.empty(b)
	}},
	{"against hosts that lease", func(e *env) {
		a, b := e.open(), e.open()
		c := e.canceller(b)
		ts := e.push(a, 60)
		var (
			wg     sync.WaitGroup
			leased []brokers.Delivery
		)
		wg.Go(func() {
			for range 30 {
				ds, err := a.Lease(e.ctx(), 2, long)
				if err != nil {
					e.Errorf("lease: %v", err)
				}
				leased = append(leased, ds...)
			}
		})
		removed := map[task.ID]bool{}
		for i := len(ts) - 1; i >= 0; i-- {
			it, err := c.Cancel(e.ctx(), ts[i].ID, e.wish("all"))
			require.NoError(e.T, err)
			removed[it.ID] = it.State == brokers.StateReady
		}
		wg.Wait()
		marks := e.marks(e.canceller(a), leased...)
		for _, d := range leased {
			require.False(e.T, removed[d.Task.ID], "task %s was leased and removed", d.Task.ID)
			require.Contains(e.T, marks, d.Task.ID)
			delete(removed, d.Task.ID)
		}
		for id, gone := range removed {
			require.True(e.T, gone, "task %s is neither leased nor removed", id)
		}
		e.settle(a, brokers.Done, leased...)
		e.empty(a)
	}},
	{"after close", func(e *env) {
		b := e.open()
		c := e.canceller(b)
		require.NoError(e.T, b.Close())
		_, err := c.Cancel(e.ctx(), "x", e.wish("no"))
		require.ErrorIs(e.T, err, brokers.ErrClosed)
		_, err = c.Cancelled(e.ctx(), []brokers.Delivery{{Task: task.Task{ID: "x"}}})
		require.ErrorIs(e.T, err, brokers.ErrClosed)
	}},
}
