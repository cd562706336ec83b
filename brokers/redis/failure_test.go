package redis_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/redis"
	"github.com/backplane/leptir/internal/testservers/redisserver"
	"github.com/backplane/leptir/task"
)

const patience = 15 * time.Second

func tasks(n int) []task.Task {
	ts := make([]task.Task, n)
	for i := range ts {
		ts[i] = task.Task{ID: task.NewID(), Type: "test.task", Params: []byte(`{"n":1}`), PushedAt: time.Now().Add(-time.Minute)}
	}
	return ts
}

func push(t *testing.T, b *redis.Broker, n int) []task.ID {
	t.Helper()
	ts := tasks(n)
	require.NoError(t, b.Push(t.Context(), ts))
	ids := make([]task.ID, n)
	for i := range ts {
		ids[i] = ts[i].ID
	}
	return ids
}

func lease(t *testing.T, b *redis.Broker, max int) []brokers.Delivery {
	t.Helper()
	ds, err := b.Lease(t.Context(), max, time.Minute)
	require.NoError(t, err)
	return ds
}

func leasedIDs(ds []brokers.Delivery) []task.ID {
	var ids []task.ID
	for _, d := range ds {
		ids = append(ids, d.Task.ID)
	}
	return ids
}

func settle(t *testing.T, b *redis.Broker, v brokers.Verdict, ds ...brokers.Delivery) {
	t.Helper()
	var ss []brokers.Settlement
	for _, d := range ds {
		ss = append(ss, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: v})
	}
	lost, err := b.Settle(t.Context(), ss)
	require.NoError(t, err)
	require.Empty(t, lost)
}

func stats(t *testing.T, b *redis.Broker) brokers.Stats {
	t.Helper()
	s, err := b.Stats(t.Context())
	require.NoError(t, err)
	return s
}

func TestRestartLosesNothing(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	b := open(t, settingsOf(t, server.Addr()))
	ids := push(t, b, 10)
	ds := lease(t, b, 5)
	settle(t, b, brokers.Done, ds[0])
	settle(t, b, brokers.Bury, ds[1])

	server.Kill()
	_, err := b.Lease(t.Context(), 1, time.Minute)
	require.Error(t, err)
	server.Restart()

	require.Equal(t, brokers.Stats{Ready: 5, Leased: 3, Dead: 1}, stats(t, b), "the same handle goes on")
	settle(t, b, brokers.Done, ds[2:]...)
	rest := lease(t, b, 10)
	require.Equal(t, ids[5:], leasedIDs(rest))
	settle(t, b, brokers.Done, rest...)
	require.Equal(t, brokers.Stats{Dead: 1}, stats(t, b))
}

// TestWorkGoesOn runs pushers and hosts through one trouble after the other: no task is lost,
// and no handle has to be opened again.
func TestWorkGoesOn(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	p := startProxy(t, server.Addr())
	s := settingsOf(t, p.addr())
	s.Connection.Timeout = 2 * time.Second
	pusher, host := open(t, s), open(t, s)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		pushed []task.ID
		done   = map[task.ID]int{}
		count  = func() (int, int) { mu.Lock(); defer mu.Unlock(); return len(pushed), len(done) }
	)
	wg.Go(func() {
		for ctx.Err() == nil {
			ts := tasks(5)
			for pusher.Push(ctx, ts) != nil { // pushing again is harmless
				if ctx.Err() != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
			mu.Lock()
			for _, t := range ts {
				pushed = append(pushed, t.ID)
			}
			mu.Unlock()
			time.Sleep(5 * time.Millisecond)
		}
	})
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				ds, err := host.Lease(ctx, 10, 3*time.Second)
				if err != nil || len(ds) == 0 {
					if host.Wait(ctx) != nil {
						time.Sleep(5 * time.Millisecond)
					}
					continue
				}
				var ss []brokers.Settlement
				for _, d := range ds {
					ss = append(ss, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done})
				}
				for tries := 0; ; tries++ {
					// With a ctx that ends here we would not know what became of the settlement.
					lost, err := host.Settle(context.WithoutCancel(ctx), ss)
					if err != nil && tries < 100 {
						time.Sleep(5 * time.Millisecond)
						continue
					}
					mu.Lock()
					gone := map[task.ID]bool{}
					for _, id := range lost {
						gone[id] = tries == 0 // else an earlier try may have done it
					}
					for _, s := range ss {
						if !gone[s.ID] {
							done[s.ID]++
						}
					}
					mu.Unlock()
					break
				}
			}
		})
	}
	goesOn := func(after string) {
		t.Helper()
		_, before := count()
		require.Eventually(t, func() bool { _, now := count(); return now >= before+50 }, patience, 10*time.Millisecond,
			"no work is done after %s", after)
	}
	goesOn("the start")
	server.Do("SCRIPT", "FLUSH")
	goesOn("SCRIPT FLUSH")
	for range 3 {
		server.Do("CLIENT", "KILL", "TYPE", "normal")
		server.Do("CLIENT", "KILL", "TYPE", "pubsub")
		goesOn("CLIENT KILL")
	}
	p.cut()
	time.Sleep(time.Second)
	p.turn(server.Addr())
	goesOn("a cut connection")
	server.Kill()
	time.Sleep(300 * time.Millisecond)
	server.Restart()
	goesOn("a restart")

	stop()
	wg.Wait()
	// What was under way when we stopped may still be leased: its lease ends.
	s.Connection.Timeout = patience
	last := open(t, s)
	require.Eventually(t, func() bool {
		ds, err := last.Lease(t.Context(), 1000, time.Minute)
		require.NoError(t, err)
		for _, d := range ds {
			done[d.Task.ID]++
		}
		settle(t, last, brokers.Done, ds...)
		return stats(t, last) == brokers.Stats{}
	}, patience, 50*time.Millisecond)
	for _, id := range pushed {
		require.NotZero(t, done[id], "task %s was lost", id)
	}
}

func TestHungServer(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	s := settingsOf(t, server.Addr())
	s.Connection.Timeout = 500 * time.Millisecond
	b := open(t, s)
	push(t, b, 3)
	server.Signal(syscall.SIGSTOP)
	start := time.Now()
	_, err := b.Lease(context.Background(), 1, time.Minute)
	require.ErrorContains(t, err, "broker \"default\": lease: ")
	require.NotErrorIs(t, err, context.DeadlineExceeded, "that would be the caller's own limit")
	require.Less(t, time.Since(start), patience)

	// A call whose ctx ends returns at once, and what it had leased comes back at once, too.
	s.Connection.Timeout = patience
	patient := open2(t, s, server)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = patient.Lease(ctx, 3, time.Hour)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	server.Signal(syscall.SIGCONT)
	require.Eventually(t, func() bool {
		ds, err := patient.Lease(t.Context(), 3, time.Minute)
		return err == nil && len(ds) > 0
	}, patience, 10*time.Millisecond,
		"tasks that nobody got must not wait for the end of an hour's lease")
}

// open2 opens a broker on a server that is stopped.
func open2(t *testing.T, s *redis.Settings, server *redisserver.Server) *redis.Broker {
	server.Signal(syscall.SIGCONT)
	b := open(t, s)
	server.Signal(syscall.SIGSTOP)
	return b
}

func TestFullMemory(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t, "--maxmemory-policy", "noeviction")
	s := settingsOf(t, server.Addr())
	b := open(t, s)
	ids := push(t, b, 20)
	server.Do("CONFIG", "SET", "maxmemory", "1")
	err := b.Push(t.Context(), tasks(5))
	require.ErrorContains(t, err, `broker "default": push: redis at `)
	require.ErrorContains(t, err, "the server's memory is full (maxmemory), nothing was written: make room or raise it")
	require.Equal(t, brokers.Stats{Ready: 20}, stats(t, b), "nothing is half pushed")
	c := client(t, s)
	require.EqualValues(t, 20, c.HLen(t.Context(), keysOf(s)[1]).Val())

	// Work goes on, and makes room.
	ds := lease(t, b, 20)
	require.Equal(t, ids, leasedIDs(ds))
	lost, err := b.Extend(t.Context(), time.Minute, ds)
	require.NoError(t, err)
	require.Empty(t, lost)
	settle(t, b, brokers.Retry, ds[0])
	settle(t, b, brokers.Bury, ds[1])
	settle(t, b, brokers.Done, ds[2:]...)
	server.Do("CONFIG", "SET", "maxmemory", "0")
	push(t, b, 1)
	require.Equal(t, brokers.Stats{Ready: 2, Dead: 1}, stats(t, b))
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t, "--requirepass", "right-secret")
	for _, c := range []struct{ user, password, want string }{
		{"", "", "the server wants a password: set password (and username)"},
		{"", "wrong-secret", "the username or the password is wrong"},
		{"nobody", "wrong-secret", "the username or the password is wrong"},
	} {
		s := settingsOf(t, server.Addr())
		s.Connection.Username, s.Connection.Password = c.user, secret(c.password)
		_, err := s.Open(t.Context(), env)
		require.ErrorContains(t, err, `broker "default": open: redis at `+server.Addr()+": "+c.want)
		require.NotContains(t, err.Error(), "secret")
	}
	s := settingsOf(t, server.Addr())
	s.Connection.Password = "right-secret"
	push(t, open(t, s), 1)
}

func TestServerIsDown(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	s := settingsOf(t, server.Addr())
	server.Kill()
	start := time.Now()
	_, err := s.Open(t.Context(), env)
	require.ErrorContains(t, err, `broker "default": open: redis at `+server.Addr()+": dial tcp")
	require.Less(t, time.Since(start), patience)
}

func TestWrongType(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	queueOf(t, s)
	c := client(t, s)
	for i, key := range keysOf(s) {
		b := open(t, s)
		push(t, b, 4)
		ds := lease(t, b, 3)
		settle(t, b, brokers.Bury, ds[2])
		exists := c.Exists(t.Context(), key).Val() == 1
		if exists {
			require.NoError(t, c.Rename(t.Context(), key, key+".saved").Err())
		}
		require.NoError(t, c.Set(t.Context(), key, "somebody else's", 0).Err())

		want := `the key "` + key + `" holds a string of somebody else, it should be a ` + []string{"zset", "hash", "hash", "zset", "zset", "zset", "hash", "hash"}[i]
		require.ErrorContains(t, b.Push(t.Context(), tasks(1)), want)
		_, err := b.Lease(t.Context(), 1, time.Minute)
		require.ErrorContains(t, err, want)
		_, err = b.Settle(t.Context(), []brokers.Settlement{
			{ID: ds[0].Task.ID, Token: ds[0].Token, Verdict: brokers.Done}, {ID: ds[1].Task.ID, Token: ds[1].Token, Verdict: brokers.Bury}})
		require.ErrorContains(t, err, want)
		_, err = s.Open(t.Context(), env)
		require.ErrorContains(t, err, `broker "default": open: `+want)

		require.NoError(t, c.Del(t.Context(), key).Err())
		if exists {
			require.NoError(t, c.Rename(t.Context(), key+".saved", key).Err())
		}
		settle(t, b, brokers.Done, ds[:2]...)
		settle(t, b, brokers.Done, lease(t, b, 10)...)
		missing, err := b.Delete(t.Context(), []task.ID{ds[2].Task.ID})
		require.NoError(t, err)
		require.Empty(t, missing)
		require.Equal(t, brokers.Stats{}, stats(t, b), "nothing was changed meanwhile")
	}
}

// TestFailoverBehindOneAddress is a failover as clients behind a virtual address or a DNS name
// see it: their connections lead to what is now a replica.
func TestFailoverBehindOneAddress(t *testing.T) {
	t.Parallel()
	old, next := redisserver.Start(t, "--repl-diskless-sync-delay", "0"), redisserver.Start(t, "--repl-diskless-sync-delay", "0")
	next.Do("REPLICAOF", old.Host, strings.Split(old.Addr(), ":")[1])
	p := startProxy(t, old.Addr())
	s := settingsOf(t, p.addr())
	b := open(t, s)
	ids := push(t, b, 4)
	ds := lease(t, b, 2)
	require.Eventually(t, func() bool { return next.Do("ZCARD", s.Connection.Key) == "2" }, patience, 10*time.Millisecond, "the replica is not up to date")

	next.Do("REPLICAOF", "NO", "ONE")
	old.Do("REPLICAOF", next.Host, strings.Split(next.Addr(), ":")[1])
	p.turn(next.Addr())
	require.Eventually(t, func() bool { return b.Push(t.Context(), tasks(1)) == nil }, patience, 10*time.Millisecond)
	more := lease(t, b, 10)
	require.Subset(t, leasedIDs(more), ids[2:])
	settle(t, b, brokers.Done, append(ds, more...)...)
	require.Equal(t, brokers.Stats{}, stats(t, b))
}

func TestEvictedSetsAreRescued(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := sharedSettings(t)
	queueOf(t, s)
	b, err := s.Open(t.Context(), brokers.Env{Name: "default", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	push(t, b.(*redis.Broker), 1000)
	lease(t, b.(*redis.Broker), 300)
	c := client(t, s)
	require.NoError(t, c.Del(t.Context(), keysOf(s)[0], keysOf(s)[3]).Err())
	require.Equal(t, brokers.Stats{}, stats(t, b.(*redis.Broker)))
	require.Eventually(t, func() bool { return stats(t, b.(*redis.Broker)).Ready == 1000 }, patience, 10*time.Millisecond)
	ds := lease(t, b.(*redis.Broker), 1000)
	lost := 0
	for _, d := range ds {
		lost += d.Lost
	}
	require.Equal(t, 300, lost)
	require.NoError(t, b.Close())
	require.Contains(t, log.String(), "tasks=1000")
	require.Contains(t, log.String(), "set maxmemory-policy noeviction")
}

func TestWarnsOfEviction(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t, "--maxmemory-policy", "allkeys-lru")
	var log bytes.Buffer
	b, err := settingsOf(t, server.Addr()).Open(t.Context(), brokers.Env{Name: "default", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.Contains(t, log.String(), "maxmemory_policy=allkeys-lru")
}

// TestWakes: what makes a task due earlier than a waiting host knew wakes it, without polling.
func TestWakes(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	queueOf(t, s)
	a, b := open(t, s), open(t, s)
	push(t, b, 2)
	ds, err := b.Lease(t.Context(), 2, 10*time.Minute)
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"a push", func() { push(t, b, 1) }},
		{"a release", func() { settle(t, b, brokers.Release, ds[0]) }},
		{"a shorter lease", func() {
			lost, err := b.Extend(t.Context(), time.Millisecond, ds[1:])
			require.NoError(t, err)
			require.Empty(t, lost)
		}},
		{"an earlier schedule", func() {
			ts := tasks(2)
			ts[0].At, ts[1].At = time.Now().Add(time.Hour), time.Now().Add(100*time.Millisecond)
			require.NoError(t, b.Push(t.Context(), ts[:1]))
			require.NoError(t, b.Push(t.Context(), ts[1:]))
		}},
	} {
		got := make(chan error, 1)
		go func() {
			for {
				err := a.Wait(t.Context())
				var ds []brokers.Delivery
				if err == nil {
					ds, err = a.Lease(t.Context(), 1, time.Minute)
				}
				if err != nil || len(ds) > 0 {
					got <- err
					return
				}
			}
		}()
		time.Sleep(50 * time.Millisecond) // let it wait
		c.do()
		select {
		case err := <-got:
			require.NoError(t, err, c.name)
		case <-time.After(patience):
			t.Fatalf("%s wakes nobody", c.name)
		}
	}
}

// TestLostReplies: what can be done again is, what must not be done twice by itself is not.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	queueOf(t, s)
	watcher := open(t, s)
	p := startProxy(t, net.JoinHostPort(s.Connection.Host, strconv.Itoa(s.Connection.Port)))
	behind := *s
	host, port, err := splitAddr(p.addr())
	require.NoError(t, err)
	behind.Connection.Host, behind.Connection.Port = host, port
	b := open(t, &behind)

	p.loseReplies(1)
	push(t, b, 5)
	require.Equal(t, brokers.Stats{Ready: 5}, stats(t, watcher), "a push is tried again, in vain")
	p.loseReplies(1)
	_, err = b.Lease(t.Context(), 1, time.Minute)
	require.Error(t, err)
	require.Equal(t, brokers.Stats{Ready: 4, Leased: 1}, stats(t, watcher), "a lease is not: nobody would know of the first")
	ds := lease(t, b, 2)
	p.loseReplies(1)
	lost, err := b.Extend(t.Context(), time.Hour, ds)
	require.NoError(t, err)
	require.Empty(t, lost)
	ss := []brokers.Settlement{{ID: ds[0].Task.ID, Token: ds[0].Token, Verdict: brokers.Done}, {ID: ds[1].Task.ID, Token: ds[1].Token, Verdict: brokers.Bury}}
	p.loseReplies(1)
	_, err = b.Settle(t.Context(), ss)
	require.Error(t, err, "else the host would take what was done for lost")
	require.Equal(t, brokers.Stats{Ready: 2, Leased: 1, Dead: 1}, stats(t, watcher))
	lost, err = b.Settle(t.Context(), ss)
	require.NoError(t, err)
	require.Len(t, lost, 2)
}

// A connection that is cut for ten seconds, longer than any call may take, leaves the same
// handle usable: every call meanwhile ends by itself with an error.
func TestLongCut(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	p := startProxy(t, server.Addr())
	s := settingsOf(t, p.addr())
	s.Connection.Timeout = 2 * time.Second
	b := open(t, s)
	ts := tasks(50)
	require.NoError(t, b.Push(t.Context(), ts))
	p.cut()
	for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(100 * time.Millisecond) {
		_, err := b.Lease(context.Background(), 10, time.Minute)
		require.Error(t, err)
	}
	p.turn(server.Addr())
	got := map[task.ID]bool{}
	require.Eventually(t, func() bool {
		ds, err := b.Lease(context.Background(), 100, time.Minute)
		if err != nil {
			return false
		}
		for _, d := range ds {
			got[d.Task.ID] = true
		}
		return len(got) == len(ts)
	}, patience, 50*time.Millisecond)
}
