package brokertest

import (
	"context"
	"errors"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

var waitCases = []testCase{
	{"ctx ends it", func(e *env) {
		w := e.waiter(e.open())
		ctx, cancel := context.WithTimeout(e.Context(), 50*time.Millisecond)
		defer cancel()
		var err error
		for err == nil { // it may return early for no reason, but not for ever
			err = w.Wait(ctx)
		}
		require.ErrorIs(e.T, err, context.DeadlineExceeded)
	}},
	{"an idle queue does not spin", func(e *env) {
		b := e.open()
		w := e.waiter(b)
		e.pushAt(b, e.q.Now().Add(time.Hour))
		ctx, cancel := context.WithTimeout(e.Context(), 300*time.Millisecond)
		defer cancel()
		returns := 0
		for w.Wait(ctx) == nil {
			returns++
		}
		require.Less(e.T, returns, 50, "wake-ups of an idle queue within 300 ms")
	}},
	{"a task that is due already", func(e *env) {
		// A push between an empty Lease and the call to Wait must not be slept over.
		b := e.open()
		w := e.waiter(b)
		e.push(b, 1)
		start := time.Now()
		require.NoError(e.T, w.Wait(e.ctx()))
		require.Less(e.T, time.Since(start), patience/2)
	}},
	{"push by another handle", func(e *env) {
		a, b := e.open(), e.open()
		got := e.waitAndLease(a)
		time.Sleep(50 * time.Millisecond) // let it wait
		t := e.push(b, 1)[0]
		require.Equal(e.T, t.ID, (<-got).Task.ID)
	}},
	{"push by the same handle", func(e *env) {
		b := e.open()
		got := e.waitAndLease(b)
		time.Sleep(50 * time.Millisecond)
		t := e.push(b, 1)[0]
		require.Equal(e.T, t.ID, (<-got).Task.ID)
	}},
	{"a scheduled task comes due", func(e *env) {
		a, b := e.open(), e.open()
		t := e.pushAt(b, e.q.Now().Add(e.h.Unit))
		got := e.waitAndLease(a)
		e.pass(e.h.Unit)
		require.Equal(e.T, t.ID, (<-got).Task.ID)
	}},
	{"a lease ends", func(e *env) {
		a, b := e.open(), e.open()
		t := e.push(b, 1)[0]
		e.lease1(b, e.h.Unit)
		got := e.waitAndLease(a)
		e.pass(e.h.Unit)
		require.Equal(e.T, t.ID, (<-got).Task.ID)
	}},
	{"a task is given back", func(e *env) {
		a, b := e.open(), e.open()
		e.push(b, 1)
		d := e.lease1(b, long)
		got := e.waitAndLease(a)
		time.Sleep(50 * time.Millisecond)
		e.settle(b, brokers.Release, d)
		require.Equal(e.T, d.Task.ID, (<-got).Task.ID)
	}},
	{"close ends it", func(e *env) {
		b := e.open()
		w := e.waiter(b)
		errs := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				err = w.Wait(context.Background())
			}
			errs <- err
		}()
		time.Sleep(50 * time.Millisecond)
		require.NoError(e.T, b.Close())
		select {
		case err := <-errs:
			require.ErrorIs(e.T, err, brokers.ErrClosed)
		case <-time.After(patience):
			e.Fatal("Wait did not return after Close")
		}
	}},
}

// waitAndLease waits for work in the way of an idle host, and returns where the first
// delivery arrives. It makes sure that the work was not found by luck: it leases only after
// Wait has returned.
func (e *env) waitAndLease(b brokers.Broker) <-chan brokers.Delivery {
	w := e.waiter(b)
	e.leaseNone(b)
	out := make(chan brokers.Delivery, 1)
	go func() {
		defer close(out)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for {
			if err := w.Wait(ctx); err != nil {
				if errors.Is(err, context.DeadlineExceeded) {
					e.Errorf("no wake-up within %v", patience)
				} else {
					e.Errorf("wait: %v", err)
				}
				return
			}
			ds, err := b.Lease(ctx, 1, long)
			if err != nil {
				e.Errorf("lease: %v", err)
				return
			}
			if len(ds) > 0 {
				out <- ds[0]
				return
			}
		}
	}()
	return out
}
