package host_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/ctl"
	"github.com/backplane/leptir/internal/testservers/redisserver"
	"github.com/backplane/leptir/task"
)

// envLong makes the tests of long tasks long: 3 minutes on a lease of 10 seconds.
const envLong = "LEPTIR_TEST_LONG"

// eachBroker runs a test on a host with one broker of each kind, and a SQLite meta storage.
// The host's name is what $LEPTIR_TEST_HOST says.
func eachBroker(t *testing.T, lease time.Duration, run func(t *testing.T, b *bundle)) {
	rest := fmt.Sprintf(`
meta_storage "sqlite" "records" {}
host {
  name              = env("LEPTIR_TEST_HOST", "first")
  number_of_workers = 4
  lease_time        = %q
}
`, lease)
	for kind, block := range map[string]func(t *testing.T) string{
		"sqlite": func(*testing.T) string { return "broker \"sqlite\" \"queue\" {}\n" },
		"redis": func(t *testing.T) string {
			return fmt.Sprintf("broker \"redis\" \"queue\" {\n  connection {\n    port = %d\n  }\n}\n", redisserver.Start(t).Port)
		},
		"mongodb": func(t *testing.T) string {
			uri, err := mongoServer()
			require.NoError(t, err)
			return fmt.Sprintf("broker \"mongodb\" \"queue\" {\n  connection {\n    uri = %q\n    database = %q\n  }\n}\n", uri, "leptir_test_"+string(task.NewID()))
		},
		"sqs": func(t *testing.T) string {
			server, err := sqsServer()
			require.NoError(t, err)
			dead := server.NewQueue(t, nil)
			url := server.NewQueue(t, map[string]string{"RedrivePolicy": server.RedrivePolicy(t, dead, 100)})
			return fmt.Sprintf("broker \"sqs\" \"queue\" {\n  connection {\n    sqs_queue = %q\n    sqs_key = %q\n    sqs_secret = %q\n    region = %q\n    endpoint = %q\n  }\n}\n",
				url, server.Key, server.Secret, server.Region, server.Endpoint)
		},
	} {
		t.Run(kind, func(t *testing.T) {
			if testing.Short() && kind != "sqlite" && kind != "redis" {
				t.Skip("needs a server that takes its time to come up")
			}
			t.Parallel()
			b := setup(t, block(t)+rest)
			b.install("plugins/demo", "demo")
			run(t, b)
		})
	}
}

// named starts a host of that name.
func (b *bundle) named(name string) *hostProcess {
	b.t.Helper()
	return b.host("LEPTIR_TEST_HOST=" + name)
}

// running waits until a task is recorded as running, and returns its record.
func (b *bundle) running(id task.ID) (r task.Record) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		recs, err := b.stores[0].Handle.Get(context.Background(), []task.ID{id})
		if err != nil || len(recs) == 0 || recs[0].Status != task.InProgress || recs[0].Run.Process == 0 {
			return false
		}
		r = recs[0]
		return true
	}, 60*time.Second, 10*time.Millisecond, "the task does not run")
	return r
}

// leptirctl runs a command of leptirctl.
func (b *bundle) leptirctl(args ...string) (code int, out string) {
	var stdout, stderr bytes.Buffer
	code = ctl.Run(b.t.Context(), append([]string{"-config", b.path}, args...), strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String() + stderr.String()
}

// sequence is how often the task of a record had been leased when it ran.
func sequence(r task.Record) int { return r.Run.Delivery % 1_000_000 }

// A task longer than its lease runs once, with another host there that would like to have it.
func TestTaskLongerThanItsLease(t *testing.T) {
	t.Parallel()
	lease, long := 2*time.Second, 7*time.Second
	if os.Getenv(envLong) != "" {
		lease, long = 10*time.Second, 3*time.Minute
	}
	eachBroker(t, lease, func(t *testing.T, b *bundle) {
		b.named("first")
		b.named("second")
		x := newTask("demo.sleep", fmt.Sprintf(`{"seconds":%g}`, long.Seconds()))
		b.push(x)
		r := b.records([]task.Task{x}, long+60*time.Second)[x.ID]
		require.Equal(t, task.Success, r.RetC, r.Run.Error)
		require.Equal(t, 1, sequence(r), "leased once, and so run once")
		require.Equal(t, 1, r.Run.Attempt)
		require.GreaterOrEqual(t, r.ExTime, long.Seconds())
		b.empty()
	})
}

// A host that stands still for longer than its leases has lost its task to another when it
// goes on: it notices, stops the task, and its late result changes nothing.
func TestLateResultIsRefused(t *testing.T) {
	t.Parallel()
	eachBroker(t, 2*time.Second, func(t *testing.T, b *bundle) {
		first := b.named("first")
		x := newTask("demo.sleep", `{"seconds":20}`)
		b.push(x)
		was := b.running(x.ID)
		require.Equal(t, "first", was.Run.Host)
		first.signal(syscall.SIGSTOP)
		second := b.named("second")
		require.Eventually(t, func() bool { return b.running(x.ID).Run.Host == "second" }, 60*time.Second, 10*time.Millisecond)
		first.signal(syscall.SIGCONT)
		first.waitFor("lease lost; the task is stopped here and runs again elsewhere")
		require.Eventually(t, func() bool { return !alive(was.Run.Process) }, 20*time.Second, 10*time.Millisecond, "the process of the lost task lives on")

		r := b.records([]task.Task{x}, 60*time.Second)[x.ID]
		require.Equal(t, "second", r.Run.Host, "the record is that of the new run")
		require.Equal(t, task.Success, r.RetC, r.Run.Error)
		require.Equal(t, 1, r.Run.Attempt)
		require.GreaterOrEqual(t, sequence(r), 2)
		require.Equal(t, 1, r.Run.HostsLost)
		require.Equal(t, brokers.Stats{}, b.empty())
		second.signal(syscall.SIGTERM)
		first.signal(syscall.SIGTERM)
		require.Zero(t, first.ended(30*time.Second))
		require.Zero(t, second.ended(30*time.Second))
		require.Equal(t, r, b.records([]task.Task{x}, 10*time.Second)[x.ID], "nothing has changed it since")
	})
}

// leptirctl cancel, on every broker: a running task is stopped, with its grace or at once, a
// waiting one does not run, and neither comes back.
func TestCancel(t *testing.T) {
	t.Parallel()
	eachBroker(t, 10*time.Second, func(t *testing.T, b *bundle) {
		cancelled := func(id task.ID, ran bool) {
			t.Helper()
			r := b.records([]task.Task{{ID: id}}, 30*time.Second)[id]
			require.Equal(t, task.Error, r.RetC)
			require.Equal(t, "cancelled by operator: test", r.Run.Error)
			require.Equal(t, "cancelled", r.Run.Exit.Reason)
			require.Equal(t, ran, !r.ExStart.IsZero())
		}
		waits := newTask("demo.noop", "")
		waits.At = time.Now().Add(4 * time.Second)
		b.push(waits)
		code, out := b.leptirctl("cancel", string(waits.ID), "-reason", "test")
		require.Zero(t, code, out)

		h := b.named("first")
		gentle, stubborn, atOnce := newTask("demo.sleep", `{"seconds":600}`), newTask("demo.spin", ""), newTask("demo.sleep", `{"seconds":600}`)
		b.push(gentle, stubborn, atOnce)
		for _, x := range []task.Task{gentle, stubborn, atOnce} {
			b.running(x.ID)
		}
		began := time.Now()
		code, out = b.leptirctl("cancel", string(gentle.ID), "-reason", "test")
		require.Zero(t, code, out)
		cancelled(gentle.ID, true)
		require.Less(t, time.Since(began), 9*time.Second, "it has ended by itself, before its grace was over")

		pid := b.running(stubborn.ID).Run.Process
		code, out = b.leptirctl("cancel", string(stubborn.ID), "-grace", "1", "-reason", "test")
		require.Zero(t, code, out)
		code, out = b.leptirctl("cancel", string(atOnce.ID), "-grace", "0", "-reason", "test")
		require.Zero(t, code, out)
		cancelled(stubborn.ID, true)
		cancelled(atOnce.ID, true)
		require.Eventually(t, func() bool { return !alive(pid) }, 20*time.Second, 10*time.Millisecond)
		cancelled(waits.ID, false)
		require.Equal(t, brokers.Stats{}, b.empty(), "no dead letters")

		code, out = b.leptirctl("cancel", string(gentle.ID))
		require.Equal(t, 1, code)
		require.Contains(t, out, "has ended already, at ")
		require.Contains(t, out, "it was cancelled")
		h.signal(syscall.SIGTERM)
		require.Zero(t, h.ended(30*time.Second))
	})
}

// leptirctl queue pause, on every broker: hosts stop taking tasks, also after a restart, what
// runs ends, and resuming lets all go on.
func TestPause(t *testing.T) {
	t.Parallel()
	eachBroker(t, 10*time.Second, func(t *testing.T, b *bundle) {
		h := b.named("first")
		slow := newTask("demo.sleep", `{"seconds":3}`)
		b.push(slow)
		b.running(slow.ID)
		code, out := b.leptirctl("queue", "pause", "queue")
		require.Zero(t, code, out)
		_, out = b.leptirctl("queue", "list")
		require.Contains(t, out, "paused since")
		if time.Sleep(time.Second); strings.HasSuffix(t.Name(), "sqs") {
			time.Sleep(5 * time.Second) // its hosts look every five seconds
		}
		waits := many(5, "demo.noop")
		b.push(waits...)
		require.Equal(t, task.Success, b.records([]task.Task{slow}, 30*time.Second)[slow.ID].RetC, "what runs, ends")
		h.signal(syscall.SIGTERM)
		require.Zero(t, h.ended(30*time.Second))
		b.named("second")
		time.Sleep(2 * time.Second)
		ids := make([]task.ID, len(waits))
		for i, x := range waits {
			ids[i] = x.ID
		}
		recs, err := b.stores[0].Handle.Get(t.Context(), ids)
		require.NoError(t, err)
		require.Empty(t, recs, "tasks that have run although the queue is paused")
		code, out = b.leptirctl("queue", "resume", "queue")
		require.Zero(t, code, out)
		b.records(waits, 30*time.Second)
		b.empty()
	})
}

// Three hosts are restarted one after the other while tasks run and come: every task runs
// once and ends well, and none is lost.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	b := setup(t, `
broker "sqlite" "queue" {}
meta_storage "sqlite" "records" {}
host {
  name              = env("LEPTIR_TEST_HOST", "first")
  number_of_workers = 4
  lease_time        = 5
}
`)
	b.install("plugins/demo", "demo")
	hosts := make([]*hostProcess, 3)
	for i := range hosts {
		hosts[i] = b.named(fmt.Sprint("host", i))
		hosts[i].waitFor("leptir-host is running")
	}
	var all []task.Task
	push := func(n int) {
		t.Helper()
		var batch []task.Task
		for range n {
			batch = append(batch, newTask("demo.sleep", `{"seconds":0.02}`), newTask("demo.noop", ""))
		}
		batch = append(batch, newTask("demo.sleep", `{"seconds":2}`))
		b.push(batch...)
		all = append(all, batch...)
	}
	push(300)
	for i, h := range hosts {
		push(100)
		h.signal(syscall.SIGTERM)
		require.Zero(t, h.ended(40*time.Second))
		hosts[i] = b.named(fmt.Sprintf("host%d.again", i))
		hosts[i].waitFor("leptir-host is running")
	}
	got := b.records(all, 60*time.Second)
	ran := map[string]int{}
	for _, x := range all {
		r := got[x.ID]
		require.Equal(t, task.Success, r.RetC, "%s: %s", x.ID, r.Run.Error)
		require.Equal(t, 1, r.Run.Attempt, x.ID)
		require.Zero(t, r.Run.HostsLost)
		ran[r.Run.Host]++
	}
	require.GreaterOrEqual(t, len(ran), 3, ran)
	require.Equal(t, brokers.Stats{}, b.empty())
	for _, h := range hosts {
		require.NotContains(t, h.printed(), "lease lost")
		h.signal(syscall.SIGTERM)
	}
	for _, h := range hosts {
		require.Zero(t, h.ended(40*time.Second))
	}
}
