package brokertest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// purger returns the broker as a Purger, or skips the case.
func (e *env) purger(b brokers.Broker) brokers.Purger {
	p, ok := b.(brokers.Purger)
	if !ok {
		e.Skip("the broker is no brokers.Purger")
	}
	return p
}

var purgeCases = []testCase{
	{"old dead letters only", func(e *env) {
		b := e.open()
		p := e.purger(b)
		ts := e.push(b, 7)
		ds := byID(ts, e.lease(b, 7, long))
		e.pushAt(b, e.q.Now().Add(time.Hour))
		for _, d := range ds[:3] {
			e.settle(b, brokers.Bury, d)
			e.pass(5 * time.Millisecond)
		}
		e.pass(50 * time.Millisecond)
		before := e.q.Now()
		e.pass(50 * time.Millisecond)
		e.settle(b, brokers.Bury, ds[3])
		e.settle(b, brokers.Release, ds[4])

		n, err := p.Purge(e.ctx(), before, 2)
		require.NoError(e.T, err)
		require.Equal(e.T, 2, n)
		e.stats(b, brokers.Stats{Ready: 1, Scheduled: 1, Leased: 2, Dead: 2})
		if i, ok := b.(brokers.Inspector); ok && !e.h.BestEffortOrder {
			require.Equal(e.T, []task.ID{ts[2].ID, ts[3].ID}, e.list(i, brokers.StateDead, 10), "the oldest go first")
		}
		n, err = p.Purge(e.ctx(), before, 100)
		require.NoError(e.T, err)
		require.Equal(e.T, 1, n)
		n, err = p.Purge(e.ctx(), before, 100)
		require.NoError(e.T, err)
		require.Zero(e.T, n)
		n, err = p.Purge(e.ctx(), before, 0)
		require.NoError(e.T, err)
		require.Zero(e.T, n)
		e.stats(b, brokers.Stats{Ready: 1, Scheduled: 1, Leased: 2, Dead: 1})

		// Nothing of them is left: their ids can be used again.
		require.NoError(e.T, b.Push(e.ctx(), ts[:1]))
		for _, d := range e.lease(b, 2, long) {
			if d.Task.ID == ts[0].ID {
				require.Equal(e.T, 1, d.Attempt)
				require.Equal(e.T, 1, d.Sequence)
			}
		}
	}},
	{"after close", func(e *env) {
		b := e.open()
		p := e.purger(b)
		require.NoError(e.T, b.Close())
		_, err := p.Purge(e.ctx(), e.q.Now(), 1)
		require.ErrorIs(e.T, err, brokers.ErrClosed)
	}},
}
