// Package brokertest is the conformance suite of brokers: what every kind of queue must do
// to be used by a host, as tests that each kind runs against itself.
//
//	func TestConformance(t *testing.T) {
//		brokertest.Run(t, brokertest.Harness{
//			NewQueue: func(tb testing.TB) brokertest.Queue {
//				name := freshName(tb)
//				return brokertest.Queue{
//					Open: func(tb testing.TB) brokers.Broker { return open(tb, name) },
//				}
//			},
//		})
//	}
//
// Each case runs as a subtest named area/case ("lease/expires"), in parallel with the
// others, on a queue of its own; where the suite must sleep, "go test -parallel 32" makes it
// quick. Cases for the optional abilities (brokers.Waiter and so on) are skipped where the
// broker has them not. Whatever else is skipped needs a reason (Harness.Skip).
package brokertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// Harness tells the suite how to get at one kind of broker and what to allow it.
type Harness struct {
	// NewQueue makes a new, empty queue that nobody else uses. What it needs to clean up
	// it registers with tb.
	NewQueue func(tb testing.TB) Queue

	// Skip returns why the case of that name ("push/idempotent while leased") cannot
	// hold for this kind, and "" for the cases to run. nil runs all.
	Skip func(name string) (reason string)

	// Unit is the length of the shortest leases and delays that the suite uses; to let one
	// pass it waits for 2.5 times as long, or 1.5 s longer, whichever is less. The default
	// is 200 ms. A server that counts in whole seconds needs a second, or two.
	Unit time.Duration

	// BestEffortOrder says that tasks may come in another order than that of their due
	// times, as SQS standard queues deliver them.
	BestEffortOrder bool

	// AlwaysRepeated says that the broker can never rule out that it delivers a task
	// twice, so that Delivery.Repeated is always set.
	AlwaysRepeated bool

	// PushTwice says that a task which is pushed again while it is there is there twice
	// then, as on SQS standard queues.
	PushTwice bool

	// InspectsOnlyDead says that of a brokers.Inspector only what concerns dead letters
	// works, as on SQS.
	InspectsOnlyDead bool

	// MaxParams is the largest parameters that the queue takes, in bytes. The default is
	// task.MaxParamsBytes, which is what every kind should take if its server can.
	MaxParams int
}

// Queue is one queue as a harness gives it.
type Queue struct {
	// Open opens the queue, again at every call: each Broker is like another host on the
	// same server. The suite closes it.
	Open func(tb testing.TB) brokers.Broker

	// OpenAhead opens the queue as a host whose clock is ahead by so much (brokers.Env.Now).
	// Optional; without it the cases of hosts with wrong clocks are skipped.
	OpenAhead func(tb testing.TB, ahead time.Duration) brokers.Broker

	// InjectRaw puts a message into the queue as it is, as a broken producer would.
	// Optional; without it the cases for unreadable messages are skipped.
	InjectRaw func(tb testing.TB, raw []byte)

	// Now is the queue's clock, and Advance sets it forward. Both or none: without them
	// the clock is time.Now, and the suite sleeps.
	Now     func() time.Time
	Advance func(d time.Duration)
}

// testCase is one case of the suite.
type testCase struct {
	name string
	run  func(e *env)
}

// area is a group of cases that stand in one file.
type area struct {
	name  string
	cases []testCase
}

// Run runs the whole suite.
func Run(t *testing.T, h Harness) {
	h = h.withDefaults()
	areas := []area{
		{"push", pushCases}, {"lease", leaseCases}, {"extend", extendCases}, {"settle", settleCases},
		{"schedule", scheduleCases}, {"order", orderCases}, {"unreadable", unreadableCases},
		{"stats", statsCases}, {"inspect", inspectCases}, {"wait", waitCases}, {"close", closeCases},
		{"cancel", cancelCases}, {"cancellation", cancellationCases}, {"pause", pauseCases}, {"purge", purgeCases},
		{"clock", clockCases}, {"concurrency", concurrencyCases}, {"large", largeCases}, {"model", modelCases},
	}
	for _, a := range areas {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range a.cases {
				t.Run(c.name, func(t *testing.T) {
					if h.Skip != nil {
						if reason := h.Skip(a.name + "/" + c.name); reason != "" {
							t.Skip(reason)
						}
					}
					t.Parallel()
					c.run(newEnv(t, h))
				})
			}
		})
	}
}

func (h Harness) withDefaults() Harness {
	if h.Unit == 0 {
		h.Unit = 200 * time.Millisecond
	}
	if h.MaxParams == 0 {
		h.MaxParams = task.MaxParamsBytes
	}
	return h
}

const (
	// long is a lease that does not end while a case runs.
	long = time.Minute
	// patience bounds every wait for something that must happen.
	patience = 45 * time.Second
)

// env is what a case works with: a fresh queue, and short words for what cases do often.
type env struct {
	*testing.T
	h Harness
	q Queue

	mu  sync.Mutex
	n   int       // tasks made
	old time.Time // due time of the first one
}

func newEnv(t *testing.T, h Harness) *env {
	e := &env{T: t, h: h, q: h.NewQueue(t)}
	if e.q.Now == nil {
		e.q.Now = time.Now
	}
	e.old = e.q.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	return e
}

// ctx bounds one call to the broker.
func (e *env) ctx() context.Context {
	ctx, cancel := context.WithTimeout(e.Context(), patience)
	e.Cleanup(cancel)
	return ctx
}

// open opens the queue once more.
func (e *env) open() brokers.Broker {
	e.Helper()
	b := e.q.Open(e.T)
	e.Cleanup(func() { require.NoError(e.T, b.Close()) })
	return b
}

// pass lets time go by until what was to last for d is over for certain.
func (e *env) pass(d time.Duration) {
	d += min(d*3/2, 3*time.Second/2) + 10*time.Millisecond
	if e.q.Advance != nil {
		e.q.Advance(d)
		return
	}
	time.Sleep(d)
}

// pause gives a real server a moment before it is asked again.
func (e *env) pause() { time.Sleep(10 * time.Millisecond) }

// task makes a task that is due; each is a second younger than the one before.
func (e *env) task() task.Task {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := task.Task{
		ID: task.NewID(), Type: "suite.test", Params: fmt.Appendf(nil, `{"n":%d}`, e.n),
		PushedAt: e.old.Add(time.Duration(e.n) * time.Second),
	}
	if e.n >= 3000 {
		t.PushedAt = e.old.Add(3000*time.Second + time.Duration(e.n)*time.Millisecond)
	}
	e.n++
	return t
}

func (e *env) tasks(n int) []task.Task {
	ts := make([]task.Task, n)
	for i := range ts {
		ts[i] = e.task()
	}
	return ts
}

// push makes n tasks that are due and pushes them.
func (e *env) push(b brokers.Broker, n int) []task.Task {
	e.Helper()
	ts := e.tasks(n)
	require.NoError(e.T, b.Push(e.ctx(), ts))
	return ts
}

// pushAt pushes one task that is due at a time.
func (e *env) pushAt(b brokers.Broker, at time.Time) task.Task {
	e.Helper()
	t := e.task()
	t.At = at.UTC().Truncate(time.Millisecond)
	require.NoError(e.T, b.Push(e.ctx(), []task.Task{t}))
	return t
}

// lease leases exactly n tasks, in as many calls as the broker needs.
func (e *env) lease(b brokers.Broker, n int, ttl time.Duration) []brokers.Delivery {
	e.Helper()
	var got []brokers.Delivery
	for end := time.Now().Add(patience); len(got) < n; {
		ds, err := b.Lease(e.ctx(), n-len(got), ttl)
		require.NoError(e.T, err)
		require.LessOrEqual(e.T, len(ds), n-len(got), "Lease returned more than it was asked for")
		got = append(got, ds...)
		if len(ds) == 0 {
			require.True(e.T, time.Now().Before(end), "leased %d tasks of %d within %v", len(got), n, patience)
			e.pause()
		}
	}
	return got
}

// lease1 leases one task.
func (e *env) lease1(b brokers.Broker, ttl time.Duration) brokers.Delivery {
	e.Helper()
	return e.lease(b, 1, ttl)[0]
}

// leaseNone checks that nothing can be leased.
func (e *env) leaseNone(b brokers.Broker) {
	e.Helper()
	ds, err := b.Lease(e.ctx(), 10, long)
	require.NoError(e.T, err)
	require.Empty(e.T, ds, "nothing should be due")
}

// settle ends the leases of ds with one verdict, none of them lost.
func (e *env) settle(b brokers.Broker, v brokers.Verdict, ds ...brokers.Delivery) {
	e.Helper()
	lost, err := b.Settle(e.ctx(), settlements(v, ds))
	require.NoError(e.T, err)
	require.Empty(e.T, lost, "no lease should be lost")
}

// settle1 ends one lease, which is not lost.
func (e *env) settle1(b brokers.Broker, s brokers.Settlement) {
	e.Helper()
	lost, err := b.Settle(e.ctx(), []brokers.Settlement{s})
	require.NoError(e.T, err)
	require.Empty(e.T, lost, "the lease should not be lost")
}

// drain leases n tasks, settles them as done and checks that the queue is empty then.
func (e *env) drain(b brokers.Broker, n int) {
	e.Helper()
	e.settle(b, brokers.Done, e.lease(b, n, long)...)
	e.empty(b)
}

// empty checks that the queue holds nothing at all.
func (e *env) empty(b brokers.Broker) {
	e.Helper()
	e.leaseNone(b)
	e.stats(b, brokers.Stats{})
}

// stats checks the counts, with some patience for servers that count late.
func (e *env) stats(b brokers.Broker, want brokers.Stats) {
	e.Helper()
	for end := time.Now().Add(patience); ; e.pause() {
		got, err := b.Stats(e.ctx())
		require.NoError(e.T, err)
		if got == want {
			return
		}
		if time.Now().After(end) {
			require.Equal(e.T, want, got)
		}
	}
}

// inspector returns the broker as an Inspector, or skips the case.
func (e *env) inspector(b brokers.Broker) brokers.Inspector {
	i, ok := b.(brokers.Inspector)
	if !ok {
		e.Skip("the broker is no brokers.Inspector")
	}
	return i
}

// waiter returns the broker as a Waiter, or skips the case.
func (e *env) waiter(b brokers.Broker) brokers.Waiter {
	w, ok := b.(brokers.Waiter)
	if !ok {
		e.Skip("the broker is no brokers.Waiter")
	}
	return w
}

// sameTask checks that a delivered task is the pushed one.
func (e *env) sameTask(want, got task.Task) {
	e.Helper()
	require.Equal(e.T, want.ID, got.ID)
	require.Equal(e.T, want.Type, got.Type)
	require.Equal(e.T, want.Priority, got.Priority)
	require.Equal(e.T, want.TimeLimit, got.TimeLimit)
	require.True(e.T, want.At.Equal(got.At), "At: pushed %v, got %v", want.At, got.At)
	require.True(e.T, want.PushedAt.Equal(got.PushedAt), "PushedAt: pushed %v, got %v", want.PushedAt, got.PushedAt)
	if len(want.Params) == 0 {
		require.Contains(e.T, []string{"", "{}"}, string(got.Params))
	} else {
		require.JSONEq(e.T, string(want.Params), string(got.Params))
	}
}

// sameOrder checks ids against the expected ones: in their order, or in any where the
// broker's order is only its best effort.
func (e *env) sameOrder(want, got []task.ID) {
	e.Helper()
	if e.h.BestEffortOrder {
		require.ElementsMatch(e.T, want, got)
		return
	}
	require.Equal(e.T, want, got)
}

func ids(ts []task.Task) []task.ID {
	out := make([]task.ID, len(ts))
	for i := range ts {
		out[i] = ts[i].ID
	}
	return out
}

func leasedIDs(ds []brokers.Delivery) []task.ID {
	out := make([]task.ID, len(ds))
	for i := range ds {
		out[i] = ds[i].Task.ID
	}
	return out
}

func settlements(v brokers.Verdict, ds []brokers.Delivery) []brokers.Settlement {
	ss := make([]brokers.Settlement, len(ds))
	for i, d := range ds {
		ss[i] = brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: v}
	}
	return ss
}

// byID puts deliveries into the order of tasks.
func byID(ts []task.Task, ds []brokers.Delivery) []brokers.Delivery {
	out := slices.Clone(ds)
	place := map[task.ID]int{}
	for i, t := range ts {
		place[t.ID] = i
	}
	slices.SortFunc(out, func(a, b brokers.Delivery) int { return place[a.Task.ID] - place[b.Task.ID] })
	return out
}
