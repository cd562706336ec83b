package brokertest

import (
	"encoding/json"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

var pushCases = []testCase{
	{"every field arrives", func(e *env) {
		b := e.open()
		now := e.q.Now().UTC().Truncate(time.Millisecond)
		ts := []task.Task{
			{ID: task.NewID(), Type: "a", PushedAt: now.Add(-3 * time.Second)},
			{ID: "my own id/№7:{x}'\"\\", Type: "A-b_c.9", Params: json.RawMessage(`{"s":"жaba \u0000 \"<&>","n":[1,2.5,null,{"x":-7}],"big":9007199254740993}`),
				Priority: -3, TimeLimit: 90 * time.Second, At: now.Add(-2 * time.Second), PushedAt: now.Add(-3 * time.Second)},
			{ID: task.NewID(), Type: "b", Params: json.RawMessage(`{}`), Priority: 1 << 30, TimeLimit: task.NoTimeLimit, PushedAt: now.Add(-time.Second)},
		}
		ts[1].ID = "my-own-id/№7:{x}'\"\\"
		for i := range ts {
			require.NoError(e.T, ts[i].Validate(), "the suite's own mistake")
		}
		require.NoError(e.T, b.Push(e.ctx(), ts))
		ds := byID(ts, e.lease(b, 3, long))
		for i := range ts {
			require.NoError(e.T, ds[i].Unreadable)
			require.Empty(e.T, ds[i].Raw)
			e.sameTask(ts[i], ds[i].Task)
		}
		require.Contains(e.T, string(ds[1].Task.Params), "9007199254740993", "numbers must keep all their digits")
	}},
	{"nothing", func(e *env) {
		b := e.open()
		require.NoError(e.T, b.Push(e.ctx(), nil))
		require.NoError(e.T, b.Push(e.ctx(), []task.Task{}))
		e.empty(b)
	}},
	{"a thousand at once", func(e *env) {
		b := e.open()
		ts := e.push(b, 1000)
		ds := e.lease(b, 1000, long)
		e.sameOrder(ids(ts), leasedIDs(ds))
		e.settle(b, brokers.Done, ds...)
		e.empty(b)
	}},
	{"without a time of push", func(e *env) {
		b := e.open()
		require.NoError(e.T, b.Push(e.ctx(), []task.Task{{ID: task.NewID(), Type: "a"}}))
		e.drain(b, 1)
	}},
	{"seen by another handle", func(e *env) {
		a, b := e.open(), e.open()
		ts := e.push(a, 3)
		e.sameOrder(ids(ts), leasedIDs(e.lease(b, 3, long)))
		e.leaseNone(a)
	}},
	{"outlives its handle", func(e *env) {
		a := e.open()
		ts := e.push(a, 3)
		require.NoError(e.T, a.Close())
		e.sameOrder(ids(ts), leasedIDs(e.lease(e.open(), 3, long)))
	}},
	{"idempotent while ready", func(e *env) {
		b := e.open()
		ts := e.push(b, 2)
		again := ts[0]
		again.Type = "another"
		require.NoError(e.T, b.Push(e.ctx(), []task.Task{again, ts[1]}))
		e.stats(b, brokers.Stats{Ready: 2})
		ds := byID(ts, e.lease(b, 2, long))
		e.sameTask(ts[0], ds[0].Task)
		e.leaseNone(b)
	}},
	{"idempotent within one call", func(e *env) {
		b := e.open()
		t := e.task()
		require.NoError(e.T, b.Push(e.ctx(), []task.Task{t, t, t}))
		e.stats(b, brokers.Stats{Ready: 1})
		e.drain(b, 1)
	}},
	{"idempotent while leased", func(e *env) {
		b := e.open()
		ts := e.push(b, 1)
		d := e.lease1(b, long)
		require.NoError(e.T, b.Push(e.ctx(), ts))
		e.leaseNone(b)
		e.stats(b, brokers.Stats{Leased: 1})
		e.settle(b, brokers.Done, d)
		e.empty(b)
	}},
	{"idempotent while scheduled", func(e *env) {
		b := e.open()
		t := e.pushAt(b, e.q.Now().Add(time.Hour))
		t.At = time.Time{}
		require.NoError(e.T, b.Push(e.ctx(), []task.Task{t}))
		e.leaseNone(b)
		e.stats(b, brokers.Stats{Scheduled: 1})
	}},
	{"idempotent while dead", func(e *env) {
		b := e.open()
		ts := e.push(b, 1)
		e.settle(b, brokers.Bury, e.lease1(b, long))
		require.NoError(e.T, b.Push(e.ctx(), ts))
		e.leaseNone(b)
		e.stats(b, brokers.Stats{Dead: 1})
	}},
	{"an id can be used again after done", func(e *env) {
		b := e.open()
		ts := e.push(b, 1)
		e.settle(b, brokers.Done, e.lease1(b, long))
		require.NoError(e.T, b.Push(e.ctx(), ts))
		d := e.lease1(b, long)
		require.Equal(e.T, ts[0].ID, d.Task.ID)
		require.Equal(e.T, 1, d.Attempt)
		require.Equal(e.T, 0, d.Lost)
	}},
}
