package brokertest

import (
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

var extendCases = []testCase{
	{"nothing", func(e *env) {
		lost, err := e.open().Extend(e.ctx(), long, nil)
		require.NoError(e.T, err)
		require.Empty(e.T, lost)
	}},
	{"a lease lives on", func(e *env) {
		b := e.open()
		e.push(b, 3)
		ds := e.lease(b, 3, 3*e.h.Unit)
		lost, err := b.Extend(e.ctx(), long, ds)
		require.NoError(e.T, err)
		require.Empty(e.T, lost)
		e.pass(3 * e.h.Unit)
		e.leaseNone(b)
		e.settle(b, brokers.Done, ds...)
		e.empty(b)
	}},
	{"a lease can be shortened", func(e *env) {
		b := e.open()
		e.push(b, 1)
		d := e.lease1(b, long)
		lost, err := b.Extend(e.ctx(), e.h.Unit, []brokers.Delivery{d})
		require.NoError(e.T, err)
		require.Empty(e.T, lost)
		e.pass(e.h.Unit)
		require.Equal(e.T, 1, e.lease1(b, long).Lost)
	}},
	{"settled ones are lost", func(e *env) {
		for _, v := range []brokers.Verdict{brokers.Done, brokers.Retry, brokers.Release, brokers.Bury} {
			b := e.open()
			e.push(b, 1)
			d := e.lease1(b, long)
			e.settle(b, v, d)
			lost, err := b.Extend(e.ctx(), long, []brokers.Delivery{d})
			require.NoError(e.T, err)
			require.Equal(e.T, []task.ID{d.Task.ID}, lost, "extended after %v", v)
			if v == brokers.Retry || v == brokers.Release {
				e.settle(b, brokers.Done, e.lease1(b, long))
			}
		}
	}},
	{"lost ones among good ones", func(e *env) {
		b := e.open()
		ts := e.push(b, 6)
		ds := byID(ts, e.lease(b, 6, 3*e.h.Unit))
		e.settle(b, brokers.Done, ds[1], ds[4])
		lost, err := b.Extend(e.ctx(), long, ds)
		require.NoError(e.T, err)
		require.ElementsMatch(e.T, []task.ID{ts[1].ID, ts[4].ID}, lost)
		e.pass(3 * e.h.Unit)
		e.leaseNone(b)
		e.settle(b, brokers.Done, ds[0], ds[2], ds[3], ds[5])
		e.empty(b)
	}},
	{"a thousand at once", func(e *env) {
		b := e.open()
		e.push(b, 1000)
		ds := e.lease(b, 1000, long)
		lost, err := b.Extend(e.ctx(), long, ds)
		require.NoError(e.T, err)
		require.Empty(e.T, lost)
		e.settle(b, brokers.Done, ds...)
	}},
}
