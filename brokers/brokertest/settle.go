package brokertest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

var settleCases = []testCase{
	{"nothing", func(e *env) {
		lost, err := e.open().Settle(e.ctx(), nil)
		require.NoError(e.T, err)
		require.Empty(e.T, lost)
	}},
	{"done removes", func(e *env) {
		a, b := e.open(), e.open()
		e.push(a, 1)
		e.settle(a, brokers.Done, e.lease1(a, e.h.Unit))
		e.pass(e.h.Unit)
		e.empty(a)
		e.empty(b)
	}},
	{"retry raises the attempt", func(e *env) {
		b := e.open()
		ts := e.push(b, 1)
		for i := range 4 {
			d := e.lease1(b, long)
			require.Equal(e.T, ts[0].ID, d.Task.ID)
			require.Equal(e.T, i+1, d.Attempt)
			require.Equal(e.T, i+1, d.Sequence)
			require.Equal(e.T, 0, d.Lost)
			require.Equal(e.T, e.h.AlwaysRepeated, d.Repeated)
			e.sameTask(ts[0], d.Task)
			e.settle1(b, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Retry, Reason: "again"})
		}
	}},
	{"retry waits for its time", func(e *env) {
		b := e.open()
		e.push(b, 1)
		d := e.lease1(b, long)
		e.settle1(b, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Retry,
			At: e.q.Now().Add(3 * e.h.Unit), Reason: "later"})
		e.leaseNone(b)
		e.stats(b, brokers.Stats{Scheduled: 1})
		e.pass(3 * e.h.Unit)
		d = e.lease1(b, long)
		require.Equal(e.T, 2, d.Attempt)
		require.Equal(e.T, 2, d.Sequence)
	}},
	{"release keeps place and attempt", func(e *env) {
		b := e.open()
		ts := e.push(b, 3)
		for i := range 3 {
			d := e.lease1(b, long)
			if !e.h.BestEffortOrder {
				require.Equal(e.T, ts[0].ID, d.Task.ID)
				require.Equal(e.T, i+1, d.Sequence)
			}
			require.Equal(e.T, 1, d.Attempt)
			require.Equal(e.T, 0, d.Lost)
			e.settle(b, brokers.Release, d)
		}
		e.sameOrder(ids(ts), leasedIDs(e.lease(b, 3, long)))
	}},
	{"release parks", func(e *env) {
		b := e.open()
		ts := e.push(b, 1)
		d := e.lease1(b, long)
		e.settle1(b, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Release,
			At: e.q.Now().Add(5 * e.h.Unit), Reason: "no plugin serves suite.test"})
		e.leaseNone(b)
		e.pass(5 * e.h.Unit)
		d = e.lease1(b, long)
		require.Equal(e.T, ts[0].ID, d.Task.ID)
		require.Equal(e.T, 1, d.Attempt, "parking does not count as an attempt")
		require.Equal(e.T, 2, d.Sequence)
		require.Equal(e.T, 0, d.Lost)
	}},
	{"parked ones are counted", func(e *env) {
		b := e.open()
		ts := e.push(b, 2)
		ds := byID(ts, e.lease(b, 2, long))
		at := e.q.Now().Add(time.Hour)
		e.settle1(b, brokers.Settlement{ID: ds[0].Task.ID, Token: ds[0].Token, Verdict: brokers.Release, At: at, Reason: "no plugin"})
		e.settle1(b, brokers.Settlement{ID: ds[1].Task.ID, Token: ds[1].Token, Verdict: brokers.Retry, At: at, Reason: "it failed"})
		e.stats(b, brokers.Stats{Scheduled: 2, Parked: 1})
	}},
	{"bury", func(e *env) {
		a, b := e.open(), e.open()
		e.push(a, 1)
		e.settle(a, brokers.Bury, e.lease1(a, e.h.Unit))
		e.pass(e.h.Unit)
		e.leaseNone(a)
		e.leaseNone(b)
		e.stats(b, brokers.Stats{Dead: 1})
	}},
	{"settling again is harmless", func(e *env) {
		for _, v := range []brokers.Verdict{brokers.Done, brokers.Retry, brokers.Release, brokers.Bury} {
			b := e.open()
			ts := e.push(b, 1)
			d := e.lease1(b, long)
			e.settle(b, v, d)
			lost, err := b.Settle(e.ctx(), settlements(v, []brokers.Delivery{d}))
			require.NoError(e.T, err)
			require.Equal(e.T, ids(ts), lost, "%v twice", v)
			if v == brokers.Retry || v == brokers.Release {
				again := e.lease1(b, long)
				require.Equal(e.T, 2, again.Sequence, "%v twice", v)
				e.settle(b, brokers.Done, again)
			}
		}
	}},
	{"mixed verdicts with some lost", func(e *env) {
		a, b := e.open(), e.open()
		ts := e.push(a, 8)
		ds := byID(ts, e.lease(a, 8, long))
		e.settle(a, brokers.Done, ds[6])
		_, err := a.Extend(e.ctx(), e.h.Unit, ds[7:8])
		require.NoError(e.T, err)
		e.pass(e.h.Unit)
		stolen := e.lease1(b, long)
		require.Equal(e.T, ts[7].ID, stolen.Task.ID)

		ss := settlements(brokers.Done, ds)
		ss[1].Verdict = brokers.Retry
		ss[2].Verdict = brokers.Release
		ss[3].Verdict = brokers.Bury
		ss[4].Verdict, ss[4].At = brokers.Retry, e.q.Now().Add(time.Hour)
		ss[5].Token = "nonsense"
		lost, err := a.Settle(e.ctx(), ss)
		require.NoError(e.T, err)
		require.ElementsMatch(e.T, []task.ID{ts[5].ID, ts[6].ID, ts[7].ID}, lost)
		e.stats(b, brokers.Stats{Ready: 2, Scheduled: 1, Leased: 2, Dead: 1})
		again := byID(ts, e.lease(b, 2, long))
		require.Equal(e.T, []task.ID{ts[1].ID, ts[2].ID}, leasedIDs(again))
		require.Equal(e.T, 2, again[0].Attempt)
		require.Equal(e.T, 1, again[1].Attempt)
		e.settle(a, brokers.Done, ds[5])
		e.settle(b, brokers.Done, stolen)
	}},
	{"no verdict", func(e *env) {
		b := e.open()
		e.push(b, 1)
		d := e.lease1(b, long)
		for _, v := range []brokers.Verdict{0, -1, brokers.Bury + 1} {
			_, err := b.Settle(e.ctx(), settlements(v, []brokers.Delivery{d}))
			require.Error(e.T, err)
		}
		e.settle(b, brokers.Done, d)
	}},
	{"a thousand at once", func(e *env) {
		b := e.open()
		ts := e.push(b, 1000)
		ds := byID(ts, e.lease(b, 1000, long))
		ss := settlements(brokers.Done, ds)
		for i := range ss {
			ss[i].Verdict = brokers.Done + brokers.Verdict(i%4)
			ss[i].Reason = "because"
		}
		lost, err := b.Settle(e.ctx(), ss)
		require.NoError(e.T, err)
		require.Empty(e.T, lost)
		e.stats(b, brokers.Stats{Ready: 500, Dead: 250})
	}},
}
