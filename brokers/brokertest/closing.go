package brokertest

import (
	"context"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

var closeCases = []testCase{
	{"every method says so", func(e *env) {
		b := e.open()
		e.push(b, 1)
		d := e.lease1(b, long)
		require.NoError(e.T, b.Close())
		require.NoError(e.T, b.Close(), "a second Close does nothing")

		require.ErrorIs(e.T, b.Push(e.ctx(), e.tasks(1)), brokers.ErrClosed)
		_, err := b.Lease(e.ctx(), 1, long)
		require.ErrorIs(e.T, err, brokers.ErrClosed)
		_, err = b.Extend(e.ctx(), long, []brokers.Delivery{d})
		require.ErrorIs(e.T, err, brokers.ErrClosed)
		_, err = b.Settle(e.ctx(), settlements(brokers.Done, []brokers.Delivery{d}))
		require.ErrorIs(e.T, err, brokers.ErrClosed)
		_, err = b.Stats(e.ctx())
		require.ErrorIs(e.T, err, brokers.ErrClosed)
		if w, ok := b.(brokers.Waiter); ok {
			require.ErrorIs(e.T, w.Wait(e.ctx()), brokers.ErrClosed)
		}
		if i, ok := b.(brokers.Inspector); ok {
			_, err = i.Find(e.ctx(), d.Task.ID)
			require.ErrorIs(e.T, err, brokers.ErrClosed)
			_, _, err = i.List(e.ctx(), brokers.StateReady, "", 1)
			require.ErrorIs(e.T, err, brokers.ErrClosed)
			_, err = i.Requeue(e.ctx(), []task.ID{d.Task.ID})
			require.ErrorIs(e.T, err, brokers.ErrClosed)
			_, err = i.Delete(e.ctx(), []task.ID{d.Task.ID})
			require.ErrorIs(e.T, err, brokers.ErrClosed)
		}
	}},
	{"other handles go on", func(e *env) {
		a, b := e.open(), e.open()
		ts := e.push(a, 2)
		require.NoError(e.T, a.Close())
		e.sameOrder(ids(ts), leasedIDs(e.lease(b, 2, long)))
		e.push(b, 1)
	}},
	{"leases end by themselves", func(e *env) {
		a := e.open()
		e.push(a, 1)
		e.lease1(a, e.h.Unit)
		require.NoError(e.T, a.Close())
		e.pass(e.h.Unit)
		require.Equal(e.T, 1, e.lease1(e.open(), long).Lost)
	}},
	{"in the middle of work", func(e *env) {
		b := e.open()
		e.push(b, 20)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					ds, err := b.Lease(context.Background(), 1, long)
					if err == nil && len(ds) == 0 {
						err = b.Push(context.Background(), e.tasks(1))
					}
					if err == nil {
						_, err = b.Settle(context.Background(), settlements(brokers.Release, ds))
					}
					if err != nil {
						if !isClosed(err) {
							e.Errorf("error of a call that Close met half-way: %v", err)
						}
						return
					}
				}
			})
		}
		time.Sleep(20 * time.Millisecond)
		require.NoError(e.T, b.Close())
		wg.Wait()
	}},
}
