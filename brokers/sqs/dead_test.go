package sqs

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/testservers/sqstest"
	"github.com/backplane/leptir/task"
)

// The queue for dead letters is the one that is set, else the target of the redrive policy.
func TestFindsDeadQueue(t *testing.T) {
	t.Parallel()
	server := sqstest.Start(t)
	target, set := server.NewQueue(t, nil), server.NewQueue(t, nil)
	url := server.NewQueue(t, map[string]string{"RedrivePolicy": server.RedrivePolicy(t, target, 5)})
	s := testSettings(server, url)
	b := open(t, s)
	require.Equal(t, target, b.dead.url)
	require.NoError(t, b.Close())

	s.Connection.DeadQueue = set
	b = open(t, s)
	require.Equal(t, set, b.dead.url)
	require.NoError(t, b.Close())

	s.Connection.DeadQueue = set + "-not"
	_, err := s.Open(t.Context(), brokers.Env{Name: "test", Logger: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "check sqs_dead_queue, region and endpoint")
}

// A redrive policy moves a task whose leases are lost again and again; it is a dead letter
// like any other then.
func TestRedrivePolicy(t *testing.T) {
	t.Parallel()
	server := sqstest.Start(t)
	dead := server.NewQueue(t, nil)
	b := open(t, testSettings(server, server.NewQueue(t, map[string]string{"RedrivePolicy": server.RedrivePolicy(t, dead, 2)})))
	defer b.Close()
	push(t, b, task.Task{ID: "t", Type: "a"})
	for range 2 {
		require.Eventually(t, func() bool {
			ds, err := b.Lease(t.Context(), 1, time.Second)
			require.NoError(t, err)
			return len(ds) == 1
		}, 10*time.Second, 50*time.Millisecond)
	}
	require.Eventually(t, func() bool {
		leaseNone(t, b)
		items, _, err := b.List(t.Context(), brokers.StateDead, "", 10)
		require.NoError(t, err)
		return len(items) == 1 && items[0].ID == "t"
	}, 15*time.Second, 100*time.Millisecond)
	missing, err := b.Requeue(t.Context(), []task.ID{"t"})
	require.NoError(t, err)
	require.Empty(t, missing)
	d := lease1(t, b)
	require.Equal(t, 1, d.Attempt)
	require.Zero(t, d.Lost)
	require.Greater(t, d.Sequence, 2, "the sequence goes on: records are ordered by it")
}

// Without a queue for dead letters they stay where they are, marked and hidden, for as long
// as it takes; once there is a queue for them they move.
func TestDeadLettersWithoutQueue(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		s := f.settings()
		s.Connection.DeadQueue = ""
		var log strings.Builder
		b := f.openWith(t, s, slog.NewTextHandler(&log, nil))
		require.Contains(t, log.String(), "neither sqs_dead_queue nor a redrive policy")
		push(t, b, task.Task{ID: "t", Type: "a"})
		d := lease1(t, b)
		settle1(t, b, d, brokers.Bury, time.Time{}, "no use")
		for range 20 * 24 / 3 { // far longer than the retention
			leaseNone(t, b)
			time.Sleep(3 * time.Hour)
		}
		require.Len(t, f.left(fakeURL), 1)
		_, _, err := b.List(t.Context(), brokers.StateDead, "", 10)
		require.ErrorContains(t, err, "there is no queue for dead letters")
		require.NoError(t, b.Close())

		b = f.open(t)
		defer b.Close()
		for len(f.left(fakeURL)) > 0 {
			leaseNone(t, b)
			time.Sleep(time.Hour)
		}
		it, err := b.Find(t.Context(), "t")
		require.NoError(t, err)
		require.Equal(t, 1, it.Attempt)
		require.Equal(t, "no use", it.History[0].Reason)
		st, err := b.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, brokers.Stats{Dead: 1}, st)
	})
}

// A letter that an operator moves back with AWS's own tools starts anew.
func TestLetterMovedBackByHand(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		push(t, b, task.Task{ID: "t", Type: "a"})
		settle1(t, b, lease1(t, b), brokers.Bury, time.Time{}, "no use")
		letter := f.left(fakeDeadURL)[0]
		require.Contains(t, fmt.Sprint(letter.attributes), "no use", "the reason is there for whoever looks in AWS's console")
		f.queues[fakeDeadURL].messages = nil
		f.send(letter.body, letter.attributes)
		d := lease1(t, b)
		require.Equal(t, 1, d.Attempt)
		require.Zero(t, d.Lost)
		require.Equal(t, 2, d.Sequence)
		settle1(t, b, d, brokers.Bury, time.Time{}, "again")
		it, err := b.Find(t.Context(), "t")
		require.NoError(t, err)
		require.Len(t, it.History, 2)
	})
}

// A letter that is put back is to run, whatever the record of its first life says, and so
// is not called a repetition. If that lease is lost it is one.
func TestLetterPutBackIsNoRepetition(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		push(t, b, task.Task{ID: "t", Type: "a"})
		d := lease1(t, b)
		require.True(t, d.Repeated)
		settle1(t, b, d, brokers.Bury, time.Time{}, "no use")
		missing, err := b.Requeue(t.Context(), []task.ID{"t"})
		require.NoError(t, err)
		require.Empty(t, missing)
		require.NoError(t, b.Wait(t.Context())) // even where a long poll has it for a while
		time.Sleep(holdTime + time.Second)
		d = lease1(t, b)
		require.False(t, d.Repeated)
		time.Sleep(time.Minute)
		d = lease1(t, b)
		require.True(t, d.Repeated)
		require.Equal(t, 1, d.Lost)
		settle1(t, b, d, brokers.Retry, time.Time{}, "again")
		require.True(t, lease1(t, b).Repeated)
	})
}

// Looking at the dead letters leaves them visible, many of them too.
func TestLookAtManyLetters(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		push(t, b, tasks(45)...)
		ds, err := b.Lease(t.Context(), 45, time.Minute)
		require.NoError(t, err)
		var ss []brokers.Settlement
		for _, d := range ds {
			ss = append(ss, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Bury, Reason: "no use"})
		}
		_, err = b.Settle(t.Context(), ss)
		require.NoError(t, err)
		seen := map[task.ID]bool{}
		for cursor := ""; ; {
			items, next, err := b.List(t.Context(), brokers.StateDead, cursor, 20)
			require.NoError(t, err)
			for _, it := range items {
				require.False(t, seen[it.ID])
				seen[it.ID] = true
			}
			if cursor = next; next == "" {
				break
			}
		}
		require.Len(t, seen, 45)
		missing, err := b.Delete(t.Context(), []task.ID{"t1", "t2", "t99"})
		require.NoError(t, err)
		require.Equal(t, []task.ID{"t99"}, missing)
		require.Len(t, f.left(fakeDeadURL), 43)
		for _, m := range f.left(fakeDeadURL) {
			require.False(t, m.visible.After(time.Now()))
		}
		_, _, err = b.List(t.Context(), brokers.StateReady, "", 20)
		require.ErrorContains(t, err, "only dead letters can be looked at")
		_, _, err = b.List(t.Context(), "sideways", "", 20)
		require.ErrorContains(t, err, "sideways")
		_, _, err = b.List(t.Context(), brokers.StateDead, "nonsense", 20)
		require.ErrorContains(t, err, "cursor")
	})
}

// A message that a foreign producer has filled to the last byte has no room for a state: it
// is settled all the same.
func TestNoRoomForState(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		f.queues[fakeURL].attributes["MaximumMessageSize"] = "2048"
		b := f.open(t)
		defer b.Close()
		body := `{"cn":"A","td":{"id":"full","parameters":{"x":"`
		body += strings.Repeat("x", 2048-len(body)-len(`"}}}`)) + `"}}}`
		f.send(body, nil)
		d := lease1(t, b)
		require.Equal(t, task.ID("full"), d.Task.ID)
		settle1(t, b, d, brokers.Retry, time.Now().Add(time.Minute), "again")
		leaseNone(t, b)
		time.Sleep(time.Minute)
		d = lease1(t, b)
		require.Equal(t, 1, d.Lost, "it cannot go on for ever")
		settle1(t, b, d, brokers.Release, time.Time{}, "")
		d = lease1(t, b)
		settle1(t, b, d, brokers.Bury, time.Time{}, "no use")
		require.Empty(t, f.left(fakeURL))
		require.Len(t, f.left(fakeDeadURL), 1)
		missing, err := b.Requeue(t.Context(), []task.ID{"full"})
		require.NoError(t, err)
		require.Empty(t, missing)
		settle1(t, b, lease1(t, b), brokers.Done, time.Time{}, "")
		require.Empty(t, f.left(fakeURL))
	})
}

// A state that nobody could have written makes a message unreadable, not lost.
func TestHostileState(t *testing.T) {
	for _, text := range []string{"", "x", "[]", `{"attempts":-1}`, `{"sequence":99999999999999}`, `{"lost":"1"}`, `{"id":"a b"}`, `{"due":"soon"}`} {
		t.Run(text, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fake) {
				b := f.open(t)
				defer b.Close()
				body := `{"v":1,"id":"t","type":"a"}`
				f.send(body, map[string]any{stateAttribute: map[string]any{"DataType": "String", "StringValue": text}})
				d := lease1(t, b)
				require.ErrorContains(t, d.Unreadable, `message attribute "leptir"`)
				require.Equal(t, body, string(d.Raw))
				settle1(t, b, d, brokers.Bury, time.Time{}, d.Unreadable.Error())
				items, _, err := b.List(t.Context(), brokers.StateDead, "", 2)
				require.NoError(t, err)
				require.Len(t, items, 1)
				require.Equal(t, d.Task.ID, items[0].ID)
			})
		})
	}
}

// A burial that was done twice, since the answer to the first was lost, is one dead letter to
// those who look, and runs once when it is put back.
func TestDoubledDeadLetter(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		for range 2 {
			push(t, b, task.Task{ID: "t", Type: "a"})
			settle1(t, b, lease1(t, b), brokers.Bury, time.Time{}, "no use")
			time.Sleep(time.Minute)
		}
		list := func() []brokers.Item {
			items, next, err := b.List(t.Context(), brokers.StateDead, "", 10)
			require.NoError(t, err)
			require.Empty(t, next)
			return items
		}
		require.Len(t, list(), 1)
		missing, err := b.Requeue(t.Context(), []task.ID{"t"})
		require.NoError(t, err)
		require.Empty(t, missing)
		require.Empty(t, list(), "both letters are gone")
		settle1(t, b, lease1(t, b), brokers.Done, time.Time{}, "")
		leaseNone(t, b)
		require.NoError(t, b.Close())
	})
}
