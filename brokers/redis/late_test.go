package redis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// TestLateHost: a lease that has ended is still its host's as long as nobody else has the task,
// also when the task is back in its place.
func TestLateHost(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	queueOf(t, s)
	b := open(t, s)
	due := time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
	ids := push(t, b, 3)
	require.NoError(t, b.Push(t.Context(), []task.Task{{ID: "old", Type: "test.task", At: due}}))
	ds, err := b.Lease(t.Context(), 4, time.Millisecond)
	require.NoError(t, err)
	time.Sleep(5 * time.Millisecond)
	items, _, err := b.List(t.Context(), brokers.StateReady, "", 10) // puts them back
	require.NoError(t, err)
	require.Len(t, items, 4)
	require.Equal(t, task.ID("old"), items[0].ID, "in its old place")
	require.True(t, due.Equal(items[0].Due))
	require.Equal(t, 1, items[0].Lost)
	require.EqualValues(t, 4, client(t, s).ZCard(t.Context(), s.Connection.Key).Val())

	settle(t, b, brokers.Done, ds[0])
	settle(t, b, brokers.Bury, ds[1])
	lost, err := b.Extend(t.Context(), time.Minute, ds[2:3])
	require.NoError(t, err)
	require.Empty(t, lost)
	require.Equal(t, brokers.Stats{Ready: 1, Leased: 1, Dead: 1}, stats(t, b))
	require.Equal(t, ids[2:], leasedIDs(lease(t, b, 10)))
	lost, err = b.Settle(t.Context(), []brokers.Settlement{{ID: ds[3].Task.ID, Token: ds[3].Token, Verdict: brokers.Done}})
	require.NoError(t, err)
	require.Equal(t, ids[2:], lost, "now it is somebody else's")
}

// TestTwiceInOneCall: the first of two wins, as it would in two calls.
func TestTwiceInOneCall(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	queueOf(t, s)
	b := open(t, s)
	require.NoError(t, b.Push(t.Context(), []task.Task{{ID: "a", Type: "first"}, {ID: "a", Type: "second"}}))
	ds := lease(t, b, 2)
	require.Len(t, ds, 1)
	require.Equal(t, "first", ds[0].Task.Type)
	lost, err := b.Settle(t.Context(), []brokers.Settlement{
		{ID: "a", Token: ds[0].Token, Verdict: brokers.Retry}, {ID: "a", Token: ds[0].Token, Verdict: brokers.Bury}})
	require.NoError(t, err)
	require.Equal(t, []task.ID{"a"}, lost)
	require.Equal(t, brokers.Stats{Ready: 1}, stats(t, b))
}

// TestNothingIsLeftBehind: a queue whose tasks are all gone takes no room.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	queueOf(t, s)
	b := open(t, s)
	push(t, b, 6)
	zadd(t, s, time.Now(), original("php"))
	ds := lease(t, b, 10)
	require.Len(t, ds, 7)
	var ss []brokers.Settlement
	for i, d := range ds {
		ss = append(ss, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Reason: "because"})
		ss[i].Verdict = []brokers.Verdict{brokers.Done, brokers.Retry, brokers.Release, brokers.Bury}[i%4]
		if i == 6 {
			ss[i].At = time.Now().Add(10 * time.Millisecond) // parks it
		}
	}
	lost, err := b.Settle(t.Context(), ss)
	require.NoError(t, err)
	require.Empty(t, lost)
	time.Sleep(15 * time.Millisecond)
	missing, err := b.Delete(t.Context(), []task.ID{ds[3].Task.ID})
	require.NoError(t, err)
	require.Empty(t, missing)
	rest := lease(t, b, 10)
	require.Len(t, rest, 4)
	settle(t, b, brokers.Done, rest...)
	require.Equal(t, brokers.Stats{}, stats(t, b))
	c := client(t, s)
	for _, key := range keysOf(s) {
		left := int64(0)
		if strings.HasSuffix(key, ":leased") {
			left = 1 // the member that is no task
		}
		require.Equal(t, left, c.Exists(t.Context(), key).Val(), key)
		if left == 1 {
			require.EqualValues(t, 1, c.ZCard(t.Context(), key).Val())
		}
	}
}
