package brokertest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

var orderCases = []testCase{
	{"oldest due time first", func(e *env) {
		b := e.open()
		ts := e.tasks(6)
		for _, i := range []int{3, 0, 5, 1, 4, 2} {
			require.NoError(e.T, b.Push(e.ctx(), ts[i:i+1]))
		}
		var got []task.ID
		for range ts {
			got = append(got, e.lease1(b, long).Task.ID)
		}
		e.sameOrder(ids(ts), got)
	}},
	{"execution time before time of push", func(e *env) {
		b := e.open()
		plain := e.tasks(2)
		early := e.task() // pushed last, with an execution time before all others
		early.At = plain[0].PushedAt.Add(-time.Minute)
		between := e.task()
		between.At = plain[0].PushedAt.Add(500 * time.Millisecond)
		require.NoError(e.T, b.Push(e.ctx(), []task.Task{plain[0], plain[1], early, between}))
		e.sameOrder([]task.ID{early.ID, plain[0].ID, between.ID, plain[1].ID}, leasedIDs(e.lease(b, 4, long)))
	}},
	{"retried ones by their new time", func(e *env) {
		b := e.open()
		ts := e.push(b, 3)
		ds := byID(ts, e.lease(b, 3, long))
		ss := settlements(brokers.Retry, ds)
		ss[0].At = ts[0].PushedAt.Add(30 * time.Minute)
		ss[1].At = ts[0].PushedAt.Add(10 * time.Minute)
		ss[2].At = ts[0].PushedAt.Add(20 * time.Minute)
		lost, err := b.Settle(e.ctx(), ss)
		require.NoError(e.T, err)
		require.Empty(e.T, lost)
		e.sameOrder([]task.ID{ts[1].ID, ts[2].ID, ts[0].ID}, leasedIDs(e.lease(b, 3, long)))
	}},
	{"a retry without a time goes to the end", func(e *env) {
		b := e.open()
		ts := e.push(b, 3)
		e.settle(b, brokers.Retry, byID(ts, e.lease(b, 3, long))[0])
		if e.h.BestEffortOrder {
			return
		}
		require.Equal(e.T, ts[0].ID, e.lease1(b, long).Task.ID)
	}},
}
