package mongodb_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// TestDocuments follows one task through its life and looks at its document at each step: the
// fields are those of docs/brokers/mongodb.md.
func TestDocuments(t *testing.T) {
	t.Parallel()
	b, c := queue(t)
	look := func() bson.M {
		t.Helper()
		var m bson.M
		require.NoError(t, c.FindOne(t.Context(), bson.M{"_id": "t1"}).Decode(&m))
		for k, v := range m { // moments are compared as such
			if d, ok := v.(bson.DateTime); ok {
				m[k] = d.Time().UTC()
			}
		}
		return m
	}
	take := func() brokers.Delivery {
		t.Helper()
		ds, err := b.Lease(t.Context(), 1, time.Minute)
		require.NoError(t, err)
		require.Len(t, ds, 1)
		return ds[0]
	}
	end := func(s brokers.Settlement) {
		t.Helper()
		lost, err := b.Settle(t.Context(), []brokers.Settlement{s})
		require.NoError(t, err)
		require.Empty(t, lost)
	}

	pushed := time.Date(2025, 11, 23, 10, 0, 0, 5e6, time.UTC)
	tk := task.Task{ID: "t1", Type: "mailer.send", Params: []byte(`{"to":"ana"}`), PushedAt: pushed}
	require.NoError(t, b.Push(t.Context(), []task.Task{tk}))
	want := bson.M{"_id": "t1", "type": "mailer.send", "state": "waiting", "due": pushed,
		"task": `{"v":1,"id":"t1","type":"mailer.send","params":{"to":"ana"},"pushed_at":"2025-11-23T10:00:00.005Z"}`}
	require.Equal(t, want, look())

	d := take()
	m := look()
	require.Equal(t, d.Token, m["token"])
	require.WithinDuration(t, time.Now().Add(time.Minute), m["until"].(time.Time), 20*time.Second)
	delete(m, "token")
	delete(m, "until")
	want["state"], want["leases"] = "leased", int32(1)
	require.Equal(t, want, m)

	at := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	end(brokers.Settlement{ID: "t1", Token: d.Token, Verdict: brokers.Release, At: at.Add(-999 * time.Microsecond), Reason: "no plugin"})
	want["state"], want["due"], want["note"] = "waiting", at, "no plugin"
	require.Equal(t, want, look(), "times are rounded up: nothing is due before its time")

	_, err := c.UpdateOne(t.Context(), bson.M{"_id": "t1"}, bson.M{"$set": bson.M{"due": pushed}})
	require.NoError(t, err)
	d = take()
	require.NotContains(t, look(), "note")
	end(brokers.Settlement{ID: "t1", Token: d.Token, Verdict: brokers.Retry, At: pushed.Add(time.Second), Reason: "it failed"})
	m = look()
	history := m["history"].(bson.A)
	require.Len(t, history, 1)
	event := history[0].(bson.D)
	require.Equal(t, []string{"time", "attempt", "what", "reason"}, []string{event[0].Key, event[1].Key, event[2].Key, event[3].Key})
	require.Equal(t, []any{int32(1), "retry", "it failed"}, []any{event[1].Value, event[2].Value, event[3].Value})
	delete(m, "history")
	delete(want, "note")
	want["due"], want["leases"], want["attempts"] = pushed.Add(time.Second), int32(2), int32(1)
	require.Equal(t, want, m)

	d = take()
	end(brokers.Settlement{ID: "t1", Token: d.Token, Verdict: brokers.Bury, Reason: "enough"})
	m = look()
	require.WithinDuration(t, time.Now(), m["buried"].(time.Time), 20*time.Second)
	require.Len(t, m["history"], 2)
	delete(m, "buried")
	delete(m, "history")
	want["state"], want["leases"], want["attempts"] = "dead", int32(3), int32(2)
	require.Equal(t, want, m)

	missing, err := b.(brokers.Inspector).Requeue(t.Context(), []task.ID{"t1"})
	require.NoError(t, err)
	require.Empty(t, missing)
	m = look()
	require.Len(t, m["history"], 2, "it keeps its history")
	delete(m, "history")
	delete(m, "due")
	delete(want, "due")
	delete(want, "attempts")
	want["state"] = "waiting"
	require.Equal(t, want, m)
}

// TestFastClock pushes a task of a producer whose clock is an hour ahead.
func TestFastClock(t *testing.T) {
	t.Parallel()
	b, _ := queue(t)
	require.NoError(t, b.Push(t.Context(), []task.Task{{ID: "t1", Type: "a", PushedAt: time.Now().Add(time.Hour)}}))
	ds, err := b.Lease(t.Context(), 1, time.Minute)
	require.NoError(t, err)
	require.Len(t, ds, 1)
}

// TestOddDocuments changes a document by hand in ways that leptir never writes: it must not
// keep others from being served.
func TestOddDocuments(t *testing.T) {
	t.Parallel()
	b, c := queue(t)
	ts := newTasks(2)
	require.NoError(t, b.Push(t.Context(), ts))
	_, err := c.UpdateOne(t.Context(), bson.M{"_id": ts[0].ID}, bson.M{"$set": bson.M{"attempts": "many", "lost": bson.A{}, "history": "none", "note": 5, "task": 7}})
	require.NoError(t, err)
	ds, err := b.Lease(t.Context(), 5, time.Minute)
	require.NoError(t, err)
	require.Len(t, ds, 2)
	require.Equal(t, ts[0].ID, ds[0].Task.ID)
	require.Error(t, ds[0].Unreadable)
	require.Equal(t, 1, ds[0].Attempt)
	require.NoError(t, ds[1].Unreadable)
	it, err := b.(brokers.Inspector).Find(t.Context(), ts[0].ID)
	require.NoError(t, err)
	require.Empty(t, it.History)
}

func TestLongReasons(t *testing.T) {
	t.Parallel()
	b, _ := queue(t)
	require.NoError(t, b.Push(t.Context(), newTasks(1)))
	for range 3 {
		ds, err := b.Lease(t.Context(), 1, time.Minute)
		require.NoError(t, err)
		lost, err := b.Settle(t.Context(), []brokers.Settlement{{ID: ds[0].Task.ID, Token: ds[0].Token, Verdict: brokers.Retry,
			Reason: "\xff" + string(make([]byte, 1<<20))}})
		require.NoError(t, err)
		require.Empty(t, lost)
	}
	items, _, err := b.(brokers.Inspector).List(t.Context(), brokers.StateReady, "", 1)
	require.NoError(t, err)
	for _, e := range items[0].History {
		require.Less(t, len(e.Reason), 65<<10)
		require.Equal(t, "\uFFFD", e.Reason[:3])
	}
}
