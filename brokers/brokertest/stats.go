package brokertest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

var statsCases = []testCase{
	{"empty queue", func(e *env) { e.stats(e.open(), brokers.Stats{}) }},
	{"every state", func(e *env) {
		a, b := e.open(), e.open()
		e.push(a, 9)
		e.pushAt(a, e.q.Now().Add(time.Hour))
		e.pushAt(a, e.q.Now().Add(2*time.Hour))
		ds := e.lease(a, 6, long)
		e.settle(a, brokers.Bury, ds[:3]...)
		e.settle(a, brokers.Done, ds[3])
		want := brokers.Stats{Ready: 3, Scheduled: 2, Leased: 2, Dead: 3}
		e.stats(a, want)
		e.stats(b, want)
	}},
	{"an ended lease counts as ready", func(e *env) {
		b := e.open()
		e.push(b, 2)
		e.lease(b, 2, e.h.Unit)
		e.pass(e.h.Unit)
		e.stats(b, brokers.Stats{Ready: 2})
	}},
	{"a parked task that came due is not parked", func(e *env) {
		b := e.open()
		e.push(b, 1)
		d := e.lease1(b, long)
		e.settle1(b, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Release,
			At: e.q.Now().Add(5 * e.h.Unit), Reason: "no plugin"})
		e.stats(b, brokers.Stats{Scheduled: 1, Parked: 1})
		e.pass(5 * e.h.Unit)
		e.stats(b, brokers.Stats{Ready: 1})
		require.Equal(e.T, 1, e.lease1(b, long).Attempt)
		e.stats(b, brokers.Stats{Leased: 1})
	}},
}
