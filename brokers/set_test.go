package brokers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/task"
)

// counted is a broker that counts its calls of Push, and fails after a number of them.
type counted struct {
	*memory.Broker
	calls  []int // tasks in each call
	failAt int   // 0: never
	err    error
	closed int
}

func newCounted() *counted { return &counted{Broker: memory.New()} }

func (c *counted) Push(ctx context.Context, tasks []task.Task) error {
	c.calls = append(c.calls, len(tasks))
	if len(c.calls) == c.failAt {
		return c.err
	}
	return c.Broker.Push(ctx, tasks)
}

func (c *counted) Close() error { c.closed++; return c.Broker.Close() }

func set(t *testing.T, members ...brokers.Named) *brokers.Set {
	t.Helper()
	s, err := brokers.NewSet(members...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// waiting returns the tasks in a broker that are not leased.
func waiting(t *testing.T, b brokers.Broker) (tasks []task.Task) {
	t.Helper()
	for _, state := range []brokers.State{brokers.StateReady, brokers.StateScheduled} {
		for cursor, first := "", true; first || cursor != ""; first = false {
			items, next, err := b.(brokers.Inspector).List(t.Context(), state, cursor, 1000)
			require.NoError(t, err)
			for _, it := range items {
				tasks = append(tasks, it.Task)
			}
			cursor = next
		}
	}
	return tasks
}

func TestPushTask(t *testing.T) {
	t.Parallel()
	b := newCounted()
	s := set(t, brokers.Named{Name: "b", Broker: b})
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	before := time.Now()
	id, err := s.PushTask(t.Context(), task.Task{Type: "mailer.send", Params: json.RawMessage(`{"to":"a"}`)}, at, 3, time.Minute)
	require.NoError(t, err)
	require.NoError(t, id.Validate())
	it, err := b.Find(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, brokers.StateScheduled, it.State)
	require.WithinRange(t, it.Task.PushedAt, before.Add(-time.Second), time.Now().Add(time.Second))
	it.Task.PushedAt = time.Time{}
	require.Equal(t, task.Task{ID: id, Type: "mailer.send", Params: json.RawMessage(`{"to":"a"}`), At: at, Priority: 3, TimeLimit: time.Minute}, it.Task)

	pushed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	id, err = s.PushTask(t.Context(), task.Task{ID: "mine", Type: "mailer.send", PushedAt: pushed}, time.Time{}, 0, task.NoTimeLimit)
	require.NoError(t, err)
	require.Equal(t, task.ID("mine"), id)
	it, err = b.Find(t.Context(), "mine")
	require.NoError(t, err)
	require.Equal(t, task.Task{ID: "mine", Type: "mailer.send", PushedAt: pushed, TimeLimit: task.NoTimeLimit}, it.Task)

	_, err = s.PushTask(t.Context(), task.Task{Type: "no good"}, time.Time{}, 0, 0)
	require.ErrorContains(t, err, `task type "no good" has a character other than`)
	require.Len(t, b.calls, 2)
}

func TestPriorityChoosesBroker(t *testing.T) {
	t.Parallel()
	s := set(t,
		brokers.Named{Name: "slow", Priority: 20, Broker: newCounted()},
		brokers.Named{Name: "urgent", Priority: -5, Broker: newCounted()},
		brokers.Named{Name: "usual", Priority: 0, Broker: newCounted()},
		brokers.Named{Name: "usual too", Priority: 0, Broker: newCounted()},
	)
	for priority, want := range map[int]string{-100: "urgent", -5: "urgent", -4: "usual", 0: "usual", 1: "slow", 20: "slow", 21: "slow"} {
		require.Equal(t, want, s.For(priority).Name, priority)
		id, err := s.PushTask(t.Context(), task.Task{Type: "x"}, time.Time{}, priority, 0)
		require.NoError(t, err)
		_, err = s.For(priority).Broker.(brokers.Inspector).Find(t.Context(), id)
		require.NoError(t, err, priority)
	}
}

func TestPushInBulk(t *testing.T) {
	t.Parallel()
	urgent, usual := newCounted(), newCounted()
	s := set(t, brokers.Named{Name: "urgent", Priority: -1, Broker: urgent}, brokers.Named{Name: "usual", Broker: usual})
	tasks := make([]task.Task, 3500)
	for i := range tasks {
		tasks[i] = task.Task{Type: fmt.Sprintf("t%d", i), Priority: -(i % 2)}
	}
	ids, err := s.Push(t.Context(), tasks)
	require.NoError(t, err)
	require.Equal(t, []int{1000, 750}, urgent.calls)
	require.Equal(t, []int{1000, 750}, usual.calls)
	require.Len(t, ids, len(tasks))
	for i := range tasks {
		require.Equal(t, tasks[i].ID, ids[i], "the ids are filled in and in order")
	}
	require.Len(t, waiting(t, urgent), 1750)
	require.Len(t, waiting(t, usual), 1750)

	again, err := s.Push(t.Context(), tasks)
	require.NoError(t, err)
	require.Equal(t, ids, again)
	require.Len(t, waiting(t, urgent), 1750, "pushing again queues nothing twice")

	ids, err = s.Push(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, ids)
}

func TestLargeTasksGoInSmallerChunks(t *testing.T) {
	t.Parallel()
	b := newCounted()
	s := set(t, brokers.Named{Name: "b", Broker: b})
	params := json.RawMessage(`{"x":"` + strings.Repeat("x", task.MaxParamsBytes-8) + `"}`)
	tasks := make([]task.Task, 40)
	for i := range tasks {
		tasks[i] = task.Task{Type: "x", Params: params}
	}
	_, err := s.Push(t.Context(), tasks)
	require.NoError(t, err)
	require.Equal(t, []int{16, 16, 8}, b.calls)
}

func TestNothingIsPushedOfABatchWithAnInvalidTask(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		tasks []task.Task
		want  string
	}{
		"type":          {[]task.Task{{Type: "a"}, {Type: ""}}, "push: task type is empty"},
		"id":            {[]task.Task{{Type: "a"}, {Type: "a", ID: "a b"}}, `push: task id "a b" has white space`},
		"id twice":      {[]task.Task{{Type: "a", ID: "x"}, {Type: "b", ID: "x"}}, "push: two of the tasks have the id x"},
		"limit":         {[]task.Task{{Type: "a", ID: "x", TimeLimit: -5}}, "push: time limit of task x is negative"},
		"broken JSON":   {[]task.Task{{Type: "a", ID: "x", Params: json.RawMessage(`{`)}}, "push: parameters of task x are not valid JSON"},
		"not an object": {[]task.Task{{Type: "a", ID: "x", Params: json.RawMessage(`[]`)}}, "push: parameters of task x are not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newCounted()
			ids, err := set(t, brokers.Named{Name: "b", Broker: b}).Push(t.Context(), test.tasks)
			require.ErrorContains(t, err, test.want)
			require.Empty(t, ids)
			require.Empty(t, b.calls)
		})
	}
}

func TestABrokerThatFailsIsNamed(t *testing.T) {
	t.Parallel()
	full := errors.New("the disk is full")
	bad, good := newCounted(), newCounted()
	bad.failAt, bad.err = 2, full
	s := set(t, brokers.Named{Name: "bad", Priority: 1, Broker: bad}, brokers.Named{Name: "good", Priority: 2, Broker: good})
	tasks := make([]task.Task, 4000)
	for i := range tasks {
		tasks[i] = task.Task{Type: "x", Priority: 1 + i%2}
	}
	ids, err := s.Push(t.Context(), tasks)
	require.ErrorIs(t, err, full)
	require.EqualError(t, err, `broker "bad": the disk is full`)
	require.Len(t, ids, 3000, "what is queued is named, also of the other broker")
	require.Len(t, waiting(t, bad), 1000)
	require.Len(t, waiting(t, good), 2000)

	ids, err = s.Push(t.Context(), tasks)
	require.NoError(t, err, "the same slice can be pushed again")
	require.Len(t, ids, 4000)
	require.Len(t, waiting(t, bad), 2000)

	bad.failAt, bad.err = len(bad.calls)+1, errors.New(`broker "bad": push: no`)
	_, err = s.PushTask(t.Context(), task.Task{Type: "x"}, time.Time{}, 0, 0)
	require.EqualError(t, err, `broker "bad": push: no`, "named once")
}

func TestNewSetRefuses(t *testing.T) {
	t.Parallel()
	b := newCounted()
	for want, members := range map[string][]brokers.Named{
		"a set of brokers needs at least one":    nil,
		"a broker of the set has no name":        {{Broker: b}},
		`broker "a": it is not open`:             {{Name: "a"}},
		`broker "a": there are two of this name`: {{Name: "a", Broker: b}, {Name: "a", Broker: b}},
	} {
		_, err := brokers.NewSet(members...)
		require.EqualError(t, err, want)
	}
}

// fakeSettings open a given broker.
type fakeSettings struct {
	broker brokers.Broker
	err    error
	got    *brokers.Env
}

func (s fakeSettings) Open(_ context.Context, env brokers.Env) (brokers.Broker, error) {
	if s.got != nil {
		*s.got = env
	}
	return s.broker, s.err
}

func TestOpen(t *testing.T) {
	t.Parallel()
	var got brokers.Env
	b := newCounted()
	s, err := brokers.Open(t.Context(), brokers.Env{Aliases: map[string]string{"A": "a"}},
		brokers.Source{Name: "one", Kind: "memory", Priority: 7, Settings: fakeSettings{broker: b, got: &got}})
	require.NoError(t, err)
	require.Equal(t, []brokers.Named{{Name: "one", Kind: "memory", Priority: 7, Broker: b}}, s.Members())
	require.Equal(t, "one", got.Name)
	require.NotNil(t, got.Logger)
	require.Equal(t, map[string]string{"A": "a"}, got.Aliases)
	require.NoError(t, s.Close())
	require.Equal(t, 1, b.closed)
	_, err = s.PushTask(t.Context(), task.Task{Type: "x"}, time.Time{}, 0, 0)
	require.ErrorIs(t, err, brokers.ErrClosed)
	require.ErrorContains(t, err, `broker "one"`)
}

func TestOpenClosesAllOnAnError(t *testing.T) {
	t.Parallel()
	down := errors.New("connection refused")
	for name, bad := range map[string]brokers.Source{
		"down":            {Name: "two", Settings: fakeSettings{err: down}},
		"two of one name": {Name: "one", Settings: fakeSettings{broker: newCounted()}},
		"no settings":     {Name: "two"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newCounted()
			_, err := brokers.Open(t.Context(), brokers.Env{}, brokers.Source{Name: "one", Settings: fakeSettings{broker: b}}, bad)
			require.ErrorContains(t, err, fmt.Sprintf("broker %q: ", bad.Name))
			require.Equal(t, 1, b.closed)
		})
	}
	_, err := brokers.Open(t.Context(), brokers.Env{})
	require.EqualError(t, err, "a set of brokers needs at least one")
}
