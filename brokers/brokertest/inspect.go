package brokertest

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

var inspectCases = []testCase{
	{"find in every state", func(e *env) {
		b := e.open()
		i := e.inspector(b)
		_, err := i.Find(e.ctx(), "not-there")
		require.ErrorIs(e.T, err, brokers.ErrNotFound)

		t := e.pushAt(b, e.q.Now().Add(4*e.h.Unit))
		it := e.find(i, t.ID)
		require.Equal(e.T, brokers.StateScheduled, it.State)
		require.True(e.T, t.At.Equal(it.Due), "due %v, pushed for %v", it.Due, t.At)
		require.Equal(e.T, 0, it.Attempt)
		require.Empty(e.T, it.History)
		require.Empty(e.T, it.Note)
		e.sameTask(t, it.Task)
		decoded, err := task.Decode(it.Raw)
		require.NoError(e.T, err)
		e.sameTask(t, decoded)

		e.pass(4 * e.h.Unit)
		require.Equal(e.T, brokers.StateReady, e.find(i, t.ID).State)

		d := e.lease1(b, long)
		it = e.find(i, t.ID)
		require.Equal(e.T, brokers.StateLeased, it.State)
		require.WithinDuration(e.T, d.Until, it.Until, 2*time.Second)
		require.Equal(e.T, 0, it.Attempt)

		at := e.q.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
		e.settle1(b, brokers.Settlement{ID: t.ID, Token: d.Token, Verdict: brokers.Release, At: at, Reason: "no plugin serves it"})
		it = e.find(i, t.ID)
		require.Equal(e.T, brokers.StateScheduled, it.State)
		require.Equal(e.T, "no plugin serves it", it.Note)
		require.True(e.T, at.Equal(it.Due))
	}},
	{"a dead letter and its history", func(e *env) {
		b := e.open()
		i := e.inspector(b)
		t := e.push(b, 1)[0]
		d := e.lease1(b, long)
		e.settle1(b, brokers.Settlement{ID: t.ID, Token: d.Token, Verdict: brokers.Retry, Reason: "first: šuma"})
		e.lease1(b, e.h.Unit)
		e.pass(e.h.Unit)
		d = e.lease1(b, long)
		e.settle1(b, brokers.Settlement{ID: t.ID, Token: d.Token, Verdict: brokers.Bury, Reason: "enough"})

		it := e.find(i, t.ID)
		require.Equal(e.T, brokers.StateDead, it.State)
		require.Equal(e.T, 2, it.Attempt)
		require.Equal(e.T, 1, it.Lost)
		e.sameTask(t, it.Task)
		type event struct {
			attempt int
			what    string
		}
		var got []event
		for _, h := range it.History {
			got = append(got, event{h.Attempt, h.What})
			require.WithinDuration(e.T, e.q.Now(), h.Time, time.Minute)
		}
		require.Equal(e.T, []event{{1, "retry"}, {2, "lost"}, {2, "bury"}}, got)
		require.Equal(e.T, "first: šuma", it.History[0].Reason)
		require.Equal(e.T, "enough", it.History[2].Reason)
	}},
	{"history keeps the newest 32", func(e *env) {
		b := e.open()
		i := e.inspector(b)
		t := e.push(b, 1)[0]
		for n := range 40 {
			d := e.lease1(b, long)
			e.settle1(b, brokers.Settlement{ID: t.ID, Token: d.Token, Verdict: brokers.Retry, Reason: fmt.Sprint("reason ", n)})
		}
		h := e.find(i, t.ID).History
		require.Len(e.T, h, 32)
		require.Equal(e.T, "reason 8", h[0].Reason)
		require.Equal(e.T, "reason 39", h[31].Reason)
	}},
	{"list nothing", func(e *env) {
		i := e.inspector(e.open())
		for _, s := range []brokers.State{brokers.StateReady, brokers.StateScheduled, brokers.StateLeased, brokers.StateDead} {
			items, next, err := i.List(e.ctx(), s, "", 10)
			require.NoError(e.T, err)
			require.Empty(e.T, items)
			require.Empty(e.T, next)
		}
		_, _, err := i.List(e.ctx(), "sideways", "", 10)
		require.ErrorContains(e.T, err, "sideways")
	}},
	{"list in pages", func(e *env) {
		b := e.open()
		i := e.inspector(b)
		ready := e.push(b, 23)
		leased := byID(ready, e.lease(b, 3, long))
		if e.h.BestEffortOrder {
			ready = without(ready, leasedIDs(leased))
		} else {
			ready = ready[3:]
		}
		require.ElementsMatch(e.T, ids(ready), e.list(i, brokers.StateReady, 7))
		e.sameOrder(ids(ready), e.list(i, brokers.StateReady, 7))
		e.sameOrder(ids(ready), e.list(i, brokers.StateReady, 20))
		e.sameOrder(ids(ready), e.list(i, brokers.StateReady, 1000))
		e.sameOrder(leasedIDs(leased), e.list(i, brokers.StateLeased, 1))
		require.Empty(e.T, e.list(i, brokers.StateDead, 5))
	}},
	{"list equal times in pages", func(e *env) {
		b := e.open()
		i := e.inspector(b)
		ts := e.tasks(10)
		for n := range ts {
			ts[n].At = e.q.Now().Add(time.Hour).UTC().Truncate(time.Second)
		}
		require.NoError(e.T, b.Push(e.ctx(), ts))
		require.ElementsMatch(e.T, ids(ts), e.list(i, brokers.StateScheduled, 3))
	}},
	{"list dead letters by burial", func(e *env) {
		b := e.open()
		i := e.inspector(b)
		ts := e.push(b, 4)
		ds := byID(ts, e.lease(b, 4, long))
		var want []task.ID
		for _, n := range []int{2, 0, 3, 1} {
			e.settle(b, brokers.Bury, ds[n])
			want = append(want, ts[n].ID)
			if e.q.Advance != nil {
				e.q.Advance(time.Second)
			} else {
				time.Sleep(5 * time.Millisecond)
			}
		}
		e.sameOrder(want, e.list(i, brokers.StateDead, 2))
	}},
	{"requeue", func(e *env) {
		b := e.open()
		i := e.inspector(b)
		ts := e.push(b, 3)
		e.lease(b, 3, e.h.Unit)
		e.pass(e.h.Unit)
		ds := byID(ts, e.lease(b, 3, long))
		e.settle(b, brokers.Bury, ds[0], ds[1])
		missing, err := i.Requeue(e.ctx(), append(ids(ts), "not-there"))
		require.NoError(e.T, err)
		require.ElementsMatch(e.T, []task.ID{ts[2].ID, "not-there"}, missing)
		e.stats(b, brokers.Stats{Ready: 2, Leased: 1})
		for _, d := range e.lease(b, 2, long) {
			require.Equal(e.T, 1, d.Attempt, "attempts are counted from anew")
			require.Equal(e.T, 0, d.Lost, "losses are counted from anew")
			require.Equal(e.T, 3, d.Sequence, "the sequence goes on: records are ordered by it")
			e.settle(b, brokers.Done, d)
		}
		missing, err = i.Requeue(e.ctx(), nil)
		require.NoError(e.T, err)
		require.Empty(e.T, missing)
	}},
	{"delete", func(e *env) {
		b := e.open()
		i := e.inspector(b)
		ts := e.push(b, 4)
		ds := byID(ts, e.lease(b, 4, long))
		e.settle(b, brokers.Bury, ds[0])
		e.settle(b, brokers.Release, ds[1], ds[2])
		scheduled := e.pushAt(b, e.q.Now().Add(time.Hour))
		missing, err := i.Delete(e.ctx(), []task.ID{ts[0].ID, ts[1].ID, ts[3].ID, scheduled.ID, "not-there"})
		require.NoError(e.T, err)
		require.ElementsMatch(e.T, []task.ID{ts[3].ID, "not-there"}, missing, "a leased task cannot be deleted")
		e.settle(b, brokers.Done, ds[3])
		e.stats(b, brokers.Stats{Ready: 1})
		require.Equal(e.T, ts[2].ID, e.lease1(b, long).Task.ID)
		_, err = i.Find(e.ctx(), ts[0].ID)
		require.ErrorIs(e.T, err, brokers.ErrNotFound)
		missing, err = i.Delete(e.ctx(), nil)
		require.NoError(e.T, err)
		require.Empty(e.T, missing)
	}},
}

func (e *env) find(i brokers.Inspector, id task.ID) brokers.Item {
	e.Helper()
	it, err := i.Find(e.ctx(), id)
	require.NoError(e.T, err)
	require.Equal(e.T, id, it.ID)
	require.Equal(e.T, id, it.Task.ID)
	return it
}

// list pages through the tasks in one state.
func (e *env) list(i brokers.Inspector, s brokers.State, limit int) []task.ID {
	e.Helper()
	var out []task.ID
	for cursor := ""; ; {
		items, next, err := i.List(e.ctx(), s, cursor, limit)
		require.NoError(e.T, err)
		require.LessOrEqual(e.T, len(items), limit)
		for _, it := range items {
			require.Equal(e.T, s, it.State)
			require.NotEmpty(e.T, it.Raw)
			out = append(out, it.ID)
		}
		require.Less(e.T, len(out), 10_000, "List never comes to an end")
		if next == "" {
			return out
		}
		require.NotEqual(e.T, cursor, next, "List stands still")
		cursor = next
	}
}

func without(ts []task.Task, drop []task.ID) []task.Task {
	var out []task.Task
	for _, t := range ts {
		gone := false
		for _, id := range drop {
			gone = gone || id == t.ID
		}
		if !gone {
			out = append(out, t)
		}
	}
	return out
}
