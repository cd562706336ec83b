package brokertest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

var leaseCases = []testCase{
	{"empty queue", func(e *env) { e.leaseNone(e.open()) }},
	{"first lease", func(e *env) {
		b := e.open()
		ts := e.push(b, 1)
		before := e.q.Now()
		d := e.lease1(b, long)
		require.Equal(e.T, ts[0].ID, d.Task.ID)
		require.NotEmpty(e.T, d.Token)
		require.Equal(e.T, 1, d.Attempt)
		require.Equal(e.T, 1, d.Sequence)
		require.Equal(e.T, 0, d.Lost)
		require.Equal(e.T, e.h.AlwaysRepeated, d.Repeated)
		require.NoError(e.T, d.Unreadable)
		require.WithinRange(e.T, d.Until, before.Add(long-2*time.Second), e.q.Now().Add(long+2*time.Second))
	}},
	{"max below one leases nothing", func(e *env) {
		b := e.open()
		e.push(b, 3)
		for _, max := range []int{0, -1, -1 << 31} {
			ds, err := b.Lease(e.ctx(), max, long)
			require.NoError(e.T, err)
			require.Empty(e.T, ds)
		}
		e.drain(b, 3)
	}},
	{"never more than max", func(e *env) {
		b := e.open()
		e.push(b, 5)
		ds, err := b.Lease(e.ctx(), 2, long)
		require.NoError(e.T, err)
		require.LessOrEqual(e.T, len(ds), 2)
		e.lease(b, 5-len(ds), long)
		e.leaseNone(b)
	}},
	{"more than there are", func(e *env) {
		b := e.open()
		e.push(b, 3)
		ds, err := b.Lease(e.ctx(), 5000, long)
		require.NoError(e.T, err)
		require.NotEmpty(e.T, ds)
		e.lease(b, 3-len(ds), long)
	}},
	{"a leased task is nobody else's", func(e *env) {
		a, b := e.open(), e.open()
		e.push(a, 1)
		e.lease1(a, long)
		e.leaseNone(b)
		e.leaseNone(a)
	}},
	{"expires", func(e *env) {
		a, b := e.open(), e.open()
		ts := e.push(a, 1)
		first := e.lease1(a, e.h.Unit)
		e.pass(e.h.Unit)
		second := e.lease1(b, long)
		require.Equal(e.T, ts[0].ID, second.Task.ID)
		require.NotEqual(e.T, first.Token, second.Token)
		require.Equal(e.T, 1, second.Attempt, "a lost lease does not count as an attempt")
		require.Equal(e.T, 2, second.Sequence)
		require.Equal(e.T, 1, second.Lost)
		require.True(e.T, second.Repeated)
	}},
	{"expires again and again", func(e *env) {
		b := e.open()
		e.push(b, 1)
		for i := range 3 {
			d := e.lease1(b, e.h.Unit)
			require.Equal(e.T, i, d.Lost)
			require.Equal(e.T, i+1, d.Sequence)
			e.pass(e.h.Unit)
		}
		e.drain(b, 1)
	}},
	{"expired ones keep their place", func(e *env) {
		b := e.open()
		ts := e.push(b, 4)
		e.lease(b, 2, e.h.Unit)
		e.pass(e.h.Unit)
		e.sameOrder(ids(ts), leasedIDs(e.lease(b, 4, long)))
	}},
	{"a lost lease changes nothing", func(e *env) {
		a, b := e.open(), e.open()
		ts := e.push(a, 1)
		old := e.lease1(a, e.h.Unit)
		e.pass(e.h.Unit)
		holder := e.lease1(b, long)
		for _, v := range []brokers.Verdict{brokers.Done, brokers.Retry, brokers.Release, brokers.Bury} {
			lost, err := a.Settle(e.ctx(), settlements(v, []brokers.Delivery{old}))
			require.NoError(e.T, err)
			require.Equal(e.T, ids(ts), lost, "%v with the token of a lost lease", v)
		}
		lost, err := a.Extend(e.ctx(), e.h.Unit, []brokers.Delivery{old})
		require.NoError(e.T, err)
		require.Equal(e.T, ids(ts), lost)

		e.pass(e.h.Unit)
		e.leaseNone(a)
		e.leaseNone(b)
		lost, err = b.Extend(e.ctx(), long, []brokers.Delivery{holder})
		require.NoError(e.T, err)
		require.Empty(e.T, lost, "the holder's lease must be untouched")
		e.settle(b, brokers.Done, holder)
		e.empty(b)
	}},
	{"a made-up token changes nothing", func(e *env) {
		b := e.open()
		e.push(b, 1)
		d := e.lease1(b, long)
		for _, token := range []string{"", "x", "0", "-1", d.Token + "0", "99999999999999999999999999", "'; drop table tasks"} {
			forged := d
			forged.Token = token
			lost, err := b.Settle(e.ctx(), settlements(brokers.Done, []brokers.Delivery{forged}))
			require.NoError(e.T, err, "token %q", token)
			require.Equal(e.T, leasedIDs([]brokers.Delivery{d}), lost, "token %q", token)
			lost, err = b.Extend(e.ctx(), e.h.Unit, []brokers.Delivery{forged})
			require.NoError(e.T, err, "token %q", token)
			require.Equal(e.T, leasedIDs([]brokers.Delivery{d}), lost, "token %q", token)
		}
		e.settle(b, brokers.Done, d)
	}},
	{"the token of another life of the id", func(e *env) {
		b := e.open()
		ts := e.push(b, 1)
		old := e.lease1(b, long)
		e.settle(b, brokers.Done, old)
		require.NoError(e.T, b.Push(e.ctx(), ts))
		holder := e.lease1(b, long)
		lost, err := b.Settle(e.ctx(), settlements(brokers.Done, []brokers.Delivery{old}))
		require.NoError(e.T, err)
		require.Equal(e.T, ids(ts), lost)
		e.settle(b, brokers.Done, holder)
		e.empty(b)
	}},
}
