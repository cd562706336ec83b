package mongodb_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/mongodb"
	"github.com/backplane/leptir/internal/testservers/mongotest"
	"github.com/backplane/leptir/task"
)

// newTasks returns tasks that are due, a second apart.
func newTasks(n int) []task.Task {
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	ts := make([]task.Task, n)
	for i := range ts {
		ts[i] = task.Task{ID: task.NewID(), Type: "test.race", PushedAt: old.Add(time.Duration(i) * time.Second)}
	}
	return ts
}

// race has leasers on all handles take tasks until there are none, and returns how often each
// task was leased.
func race(t *testing.T, handles []brokers.Broker, leasers, batch int) map[task.ID]int {
	t.Helper()
	var (
		mu    sync.Mutex
		times = map[task.ID]int{}
		wg    sync.WaitGroup
	)
	for i := range leasers {
		b := handles[i%len(handles)]
		wg.Go(func() {
			for empty := 0; empty < 3; {
				ds, err := b.Lease(t.Context(), 1+i%batch, time.Minute)
				if err != nil {
					t.Errorf("lease: %v", err)
					return
				}
				if len(ds) == 0 {
					empty++ // others may have been quicker
				}
				mu.Lock()
				for _, d := range ds {
					times[d.Task.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return times
}

func TestNoTwoHostsGetOneTask(t *testing.T) {
	t.Parallel()
	for name, handles := range map[string]int{"two hosts with four leasers each": 2, "eight hosts": 8} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := mongotest.Database(t)
			hosts := make([]brokers.Broker, handles)
			for i := range hosts {
				hosts[i] = open(t, database)
				defer hosts[i].Close()
			}
			ts := newTasks(200)
			require.NoError(t, hosts[0].Push(t.Context(), ts))
			times := race(t, hosts, 8, 5)
			require.Len(t, times, len(ts), "every task is leased")
			for id, n := range times {
				require.Equal(t, 1, n, "task %s", id)
			}
		})
	}
}

// TestClaimsAreExclusive has two hosts see the same tasks before either claims them.
func TestClaimsAreExclusive(t *testing.T) {
	t.Parallel()
	for name, ended := range map[string]int{"waiting ones": 0, "ones whose lease has ended": 10, "some of both": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := mongotest.Database(t)
			hosts := []brokers.Broker{open(t, database), open(t, database)}
			defer hosts[0].Close()
			defer hosts[1].Close()
			require.NoError(t, hosts[0].Push(t.Context(), newTasks(10)))
			_, err := hosts[0].Lease(t.Context(), ended, time.Millisecond)
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				st, err := hosts[0].Stats(t.Context())
				return err == nil && st.Ready == 10
			}, 10*time.Second, 10*time.Millisecond)
			got, err := mongodb.Claims(t.Context(), hosts, 10)
			require.NoError(t, err)
			require.Len(t, got[0], 10)
			require.Empty(t, got[1])
		})
	}
}

// TestContention does on a real server, which runs commands of several clients at the same
// time, what the built-in one does in turns.
func TestContention(t *testing.T) {
	t.Parallel()
	mongotest.NeedReal(t, "the built-in server runs one command at a time")
	database := mongotest.Database(t)
	hosts := make([]brokers.Broker, 16)
	for i := range hosts {
		hosts[i] = open(t, database)
		defer hosts[i].Close()
	}
	ts := newTasks(20_000)
	require.NoError(t, hosts[0].Push(t.Context(), ts))
	times := race(t, hosts, 64, 50)
	require.Len(t, times, len(ts))
	for id, n := range times {
		require.Equal(t, 1, n, "task %s", id)
	}
}

// A host renews its leases and settles some of the tasks at the same time: those that it has not
// settled are not lost.
func TestExtendBesideSettle(t *testing.T) {
	t.Parallel()
	b := open(t, mongotest.Database(t))
	defer b.Close()
	const n = 40
	require.NoError(t, b.Push(t.Context(), newTasks(n)))
	ds, err := b.Lease(t.Context(), n, time.Minute)
	require.NoError(t, err)
	require.Len(t, ds, n)
	kept := ds[:n/2] // the others are settled, one after the other
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, d := range ds[n/2:] {
			if lost, err := b.Settle(t.Context(), []brokers.Settlement{{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done}}); err != nil || len(lost) > 0 {
				t.Errorf("settle: %v, lost %v", err, lost)
				return
			}
		}
	}()
	for going := true; going; {
		select {
		case <-ended:
			going = false
		default:
		}
		lost, err := b.Extend(t.Context(), time.Minute, ds)
		require.NoError(t, err)
		for _, d := range kept {
			require.NotContains(t, lost, d.Task.ID, "a lease that nobody has touched")
		}
	}
	var ss []brokers.Settlement
	for _, d := range kept {
		ss = append(ss, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done})
	}
	lost, err := b.Settle(t.Context(), ss)
	require.NoError(t, err)
	require.Empty(t, lost)
}
