package brokertest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

// pauser returns the broker as a Pauser, or skips the case.
func (e *env) pauser(b brokers.Broker) brokers.Pauser {
	p, ok := b.(brokers.Pauser)
	if !ok {
		e.Skip("the broker is no brokers.Pauser")
	}
	return p
}

// knowsPause waits until a handle knows whether the queue is paused.
func (e *env) knowsPause(b brokers.Broker, want bool) time.Time {
	e.Helper()
	for end := time.Now().Add(patience); ; e.pause() {
		since, err := e.pauser(b).Paused(e.ctx())
		require.NoError(e.T, err)
		if !since.IsZero() == want {
			return since
		}
		require.True(e.T, time.Now().Before(end), "paused is not %v within %v", want, patience)
	}
}

var pauseCases = []testCase{
	{"hands nothing out", func(e *env) {
		a, b := e.open(), e.open()
		p := e.pauser(a)
		ts := e.push(a, 3)
		d := e.lease1(b, long)
		e.knowsPause(a, false)
		require.NoError(e.T, p.Pause(e.ctx()))
		since := e.knowsPause(a, true)
		require.WithinDuration(e.T, e.q.Now(), since, time.Minute)
		e.knowsPause(b, true)
		e.leaseNone(a)
		e.leaseNone(b)
		st, err := b.Stats(e.ctx())
		require.NoError(e.T, err)
		require.True(e.T, st.Paused)

		// All else goes on: pushes, and what runs.
		more := e.push(b, 1)
		lost, err := b.Extend(e.ctx(), long, []brokers.Delivery{d})
		require.NoError(e.T, err)
		require.Empty(e.T, lost)
		e.settle(b, brokers.Done, d)
		e.leaseNone(a)
		e.stats(a, brokers.Stats{Ready: 3, Paused: true})

		require.NoError(e.T, p.Resume(e.ctx()))
		e.knowsPause(a, false)
		e.knowsPause(b, false)
		e.stats(a, brokers.Stats{Ready: 3})
		want := append(without(ts, leasedIDs([]brokers.Delivery{d})), more...)
		e.sameOrder(ids(want), leasedIDs(e.lease(b, 3, long)))
	}},
	{"is kept with the queue", func(e *env) {
		a := e.open()
		require.NoError(e.T, e.pauser(a).Pause(e.ctx()))
		since := e.knowsPause(a, true)
		require.NoError(e.T, e.pauser(a).Pause(e.ctx()), "a second pause")
		e.push(a, 1)
		require.NoError(e.T, a.Close())
		b := e.open()
		e.leaseNone(b)
		require.True(e.T, since.Equal(e.knowsPause(b, true)), "a second pause changes nothing")
		e.leaseNone(b)
		require.NoError(e.T, e.pauser(b).Resume(e.ctx()))
		e.knowsPause(b, false)
		e.drain(b, 1)
		require.NoError(e.T, e.pauser(b).Resume(e.ctx()), "resume without a pause")
	}},
	{"who waits, waits for its end", func(e *env) {
		a, b := e.open(), e.open()
		w := e.waiter(a)
		require.NoError(e.T, e.pauser(b).Pause(e.ctx()))
		e.knowsPause(a, true)
		t := e.push(b, 1)[0]
		ctx, cancel := context.WithTimeout(e.Context(), 300*time.Millisecond)
		defer cancel()
		returns := 0
		for w.Wait(ctx) == nil {
			returns++
		}
		require.Less(e.T, returns, 50, "wake-ups of a paused queue within 300 ms")
		got := e.waitAndLease(a)
		time.Sleep(50 * time.Millisecond)
		require.NoError(e.T, e.pauser(b).Resume(e.ctx()))
		require.Equal(e.T, t.ID, (<-got).Task.ID)
	}},
	{"after close", func(e *env) {
		b := e.open()
		p := e.pauser(b)
		require.NoError(e.T, b.Close())
		require.ErrorIs(e.T, p.Pause(e.ctx()), brokers.ErrClosed)
		require.ErrorIs(e.T, p.Resume(e.ctx()), brokers.ErrClosed)
		_, err := p.Paused(e.ctx())
		require.ErrorIs(e.T, err, brokers.ErrClosed)
	}},
}
