package brokertest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// wrong is how far the clocks of hosts are off that must do no harm.
const wrong = 7 * time.Minute

// hostClock is a host of the suite whose clock is ahead of the queue's.
type hostClock struct {
	brokers.Broker
	ahead time.Duration
	e     *env
}

// openAhead opens the queue as a host does whose clock is wrong, or skips the case.
func (e *env) openAhead(ahead time.Duration) hostClock {
	e.Helper()
	if e.q.OpenAhead == nil {
		e.Skip("the hosts of such a queue share its clock")
	}
	b := e.q.OpenAhead(e.T, ahead)
	e.Cleanup(func() { require.NoError(e.T, b.Close()) })
	return hostClock{b, ahead, e}
}

// now is what the host's clock shows.
func (h hostClock) now() time.Time { return h.e.q.Now().Add(h.ahead) }

// due returns the time that a host names for what is to be due in a while.
func (h hostClock) due(in time.Duration) time.Time {
	at := h.now().Add(in)
	if c, ok := h.Broker.(brokers.Clocked); ok {
		at = at.Add(c.Skew())
	}
	return at.UTC().Truncate(time.Millisecond)
}

// both runs a case with a host whose clock is fast, and with one whose clock is slow.
func both(run func(e *env, h hostClock)) func(e *env) {
	return func(e *env) {
		for _, ahead := range []time.Duration{wrong, -wrong} {
			e.q = e.h.NewQueue(e.T)
			if e.q.Now == nil {
				e.q.Now = time.Now
			}
			run(e, e.openAhead(ahead))
		}
	}
}

var clockCases = []testCase{
	{"a producer's fast clock delays nothing", func(e *env) {
		b := e.open()
		t := e.task()
		t.PushedAt = e.q.Now().Add(wrong).UTC().Truncate(time.Millisecond)
		require.NoError(e.T, b.Push(e.ctx(), []task.Task{t}))
		e.stats(b, brokers.Stats{Ready: 1})
		d := e.lease1(b, long)
		e.sameTask(t, d.Task)
	}},
	{"what is due", both(func(e *env, h hostClock) {
		b := e.open()
		e.pushAt(b, e.q.Now().Add(wrong/2))
		t := e.task()
		t.PushedAt = h.now().UTC().Truncate(time.Millisecond)
		require.NoError(e.T, h.Push(e.ctx(), []task.Task{t}))
		require.Equal(e.T, t.ID, e.lease1(h, long).Task.ID)
		e.leaseNone(h)
		e.stats(h, brokers.Stats{Scheduled: 1, Leased: 1})
	})},
	{"leases of others", both(func(e *env, h hostClock) {
		b := e.open()
		e.push(b, 2)
		ds := e.lease(b, 2, long)
		e.leaseNone(h)
		e.stats(h, brokers.Stats{Leased: 2})
		e.settle(b, brokers.Done, ds...)
	})},
	{"leases of its own", both(func(e *env, h hostClock) {
		b := e.open()
		e.push(b, 2)
		ds := e.lease(h, 2, 5*e.h.Unit)
		for _, d := range ds {
			require.WithinDuration(e.T, h.now().Add(5*e.h.Unit), d.Until, 4*time.Second, "the end of its lease, by its own clock")
		}
		e.leaseNone(b)
		lost, err := h.Extend(e.ctx(), long, ds[:1])
		require.NoError(e.T, err)
		require.Empty(e.T, lost)
		e.pass(5 * e.h.Unit)
		d := e.lease1(b, long)
		require.Equal(e.T, ds[1].Task.ID, d.Task.ID)
		e.leaseNone(b)
		lost, err = h.Settle(e.ctx(), settlements(brokers.Done, ds))
		require.NoError(e.T, err)
		require.Equal(e.T, []task.ID{ds[1].Task.ID}, lost)
	})},
	{"retries of its own", both(func(e *env, h hostClock) {
		b := e.open()
		e.push(b, 1)
		d := e.lease1(h, long)
		e.settle1(h, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Retry, At: h.due(4 * e.h.Unit), Reason: "later"})
		e.leaseNone(b)
		e.pass(4*e.h.Unit + 2*time.Second) // clocks that tell only whole seconds
		require.Equal(e.T, 2, e.lease1(b, long).Attempt)
	})},
}
