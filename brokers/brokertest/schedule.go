package brokertest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

var scheduleCases = []testCase{
	{"not before its time", func(e *env) {
		a, b := e.open(), e.open()
		t := e.pushAt(a, e.q.Now().Add(4*e.h.Unit))
		e.leaseNone(a)
		e.leaseNone(b)
		e.stats(a, brokers.Stats{Scheduled: 1})
		e.pass(4 * e.h.Unit)
		e.stats(a, brokers.Stats{Ready: 1})
		d := e.lease1(b, long)
		e.sameTask(t, d.Task)
		require.Equal(e.T, 1, d.Attempt)
		require.Equal(e.T, 1, d.Sequence)
	}},
	{"due ones pass by", func(e *env) {
		b := e.open()
		e.pushAt(b, e.q.Now().Add(time.Hour))
		t := e.push(b, 1)[0]
		require.Equal(e.T, t.ID, e.lease1(b, long).Task.ID)
		e.leaseNone(b)
		e.stats(b, brokers.Stats{Scheduled: 1, Leased: 1})
	}},
	{"a time in the past is due", func(e *env) {
		b := e.open()
		t := e.pushAt(b, e.q.Now().Add(-24*time.Hour))
		require.Equal(e.T, t.ID, e.lease1(b, long).Task.ID)
	}},
	{"far future", func(e *env) {
		b := e.open()
		e.pushAt(b, e.q.Now().AddDate(50, 0, 0))
		e.leaseNone(b)
		e.stats(b, brokers.Stats{Scheduled: 1})
	}},
}
