package brokertest

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

func isClosed(err error) bool { return errors.Is(err, brokers.ErrClosed) }

// interrupted tells the error of a call whose ctx ended.
func interrupted(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

var cancelCases = []testCase{
	{"before the call", func(e *env) {
		b := e.open()
		e.push(b, 1)
		d := e.lease1(b, long)
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		require.ErrorIs(e.T, b.Push(ctx, e.tasks(1)), context.Canceled)
		_, err := b.Lease(ctx, 1, long)
		require.ErrorIs(e.T, err, context.Canceled)
		_, err = b.Extend(ctx, long, []brokers.Delivery{d})
		require.ErrorIs(e.T, err, context.Canceled)
		_, err = b.Settle(ctx, settlements(brokers.Done, []brokers.Delivery{d}))
		require.ErrorIs(e.T, err, context.Canceled)
		_, err = b.Stats(ctx)
		require.ErrorIs(e.T, err, context.Canceled)
		e.settle(b, brokers.Done, d)
		e.empty(b)
	}},
	{"push half-way", func(e *env) {
		b := e.open()
		ts := e.tasks(400)
		for i := 0; i < len(ts); i += 10 {
			err := b.Push(e.soon(), ts[i:i+10])
			require.True(e.T, err == nil || interrupted(err), "%v", err)
		}
		require.NoError(e.T, b.Push(e.ctx(), ts), "pushing again completes what was cut short")
		require.ElementsMatch(e.T, ids(ts), leasedIDs(e.lease(b, len(ts), long)))
		e.leaseNone(b)
	}},
	{"lease half-way", func(e *env) {
		b := e.open()
		ts := e.push(b, 200)
		left := map[task.ID]bool{}
		for _, t := range ts {
			left[t.ID] = true
		}
		for range 40 {
			ds, err := b.Lease(e.soon(), 10, e.h.Unit)
			if err != nil {
				require.True(e.T, interrupted(err), "%v", err)
				continue
			}
			for _, d := range ds {
				require.True(e.T, left[d.Task.ID])
				delete(left, d.Task.ID)
			}
			_, err = b.Extend(e.ctx(), long, ds)
			require.NoError(e.T, err)
			lost, err := b.Settle(e.ctx(), settlements(brokers.Done, ds))
			require.NoError(e.T, err)
			for _, id := range lost { // a slow server: the short lease was over before its extension
				left[id] = true
			}
		}
		e.pass(e.h.Unit)
		ds := e.lease(b, len(left), long)
		for _, d := range ds {
			require.True(e.T, left[d.Task.ID], "leased again after it was done")
		}
		e.settle(b, brokers.Done, ds...)
		e.empty(b)
	}},
	{"settle half-way", func(e *env) {
		b := e.open()
		e.push(b, 200)
		ds := e.lease(b, 200, long)
		for i := 0; i < len(ds); i += 10 {
			_, err := b.Settle(e.soon(), settlements(brokers.Done, ds[i:i+10]))
			require.True(e.T, err == nil || interrupted(err), "%v", err)
		}
		_, err := b.Settle(e.ctx(), settlements(brokers.Done, ds))
		require.NoError(e.T, err)
		e.empty(b)
	}},
}

// soon returns a ctx that ends within a millisecond or so.
func (e *env) soon() context.Context {
	ctx, cancel := context.WithTimeout(e.Context(), rand.N(1500*time.Microsecond))
	e.Cleanup(cancel)
	return ctx
}
