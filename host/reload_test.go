package host_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/daemon"
	"github.com/backplane/leptir/task"
)

// parse reads a configuration as if it stood in the bundle's file.
func (b *bundle) parse(source string) *config.Config {
	b.t.Helper()
	cfg, err := config.Parse([]byte(source), b.path, daemon.Kinds())
	require.NoError(b.t, err)
	return cfg
}

// open runs a host in this process, where the race detector sees it.
func (b *bundle) open() *host.Host {
	b.t.Helper()
	h, err := host.Open(b.t.Context(), b.cfg, slog.New(slog.DiscardHandler))
	require.NoError(b.t, err)
	return h
}

func texts(changes []config.Change) (all []string) {
	for _, c := range changes {
		all = append(all, c.String())
	}
	return all
}

func TestReload(t *testing.T) {
	t.Parallel()
	b := setup(t, `
host {
  number_of_workers = 1
}
plugin "demo" {}
`)
	b.install("plugins/demo", "demo")
	h := b.open()
	require.NoError(t, h.Alive(t.Context()))
	first := newTask("demo.noop", "")
	b.push(first)
	before := b.records([]task.Task{first}, 30*time.Second)[first.ID].Run.Process
	long := newTask("demo.sleep", `{"seconds":2}`)
	b.push(long)
	require.Eventually(t, func() bool { running, _ := h.Running(); return running == 1 }, 30*time.Second, time.Millisecond)

	r, err := h.Reload(b.parse(`
host {
  number_of_workers   = 3
  task_execution_time = 1
  max_attempts        = 2
  lease_time          = 7
  shutdown_timeout    = 60
}
plugin "demo" {
  environment = { MODE = "hunter2" }
}
broker "sqlite" "other" {
  path = "other.db"
}
`))
	require.NoError(t, err)
	require.Equal(t, []string{
		`host: task_execution_time: "10m" → "1s"`,
		`host: number_of_workers: 1 → 3`,
		`host: shutdown_timeout: "30s" → "1m"`,
		`host: max_attempts: 1 → 2`,
		`plugin "demo": task_execution_time: "10m" → "1s"`,
		`plugin "demo": max_attempts: 1 → 2`,
		`plugin "demo": max_processes: 1 → 3`,
		`plugin "demo": environment: {} → { MODE = "***" }`,
	}, texts(r.Applied))
	require.Contains(t, texts(r.Restart), `host: lease_time: "30s" → "7s"`)
	require.Contains(t, texts(r.Restart), `broker "sqlite" "other" added`)

	// Limits that are strict and that this machine does not enforce change nothing.
	strict := b.parse(`
host {
  number_of_workers = 9
}
plugin "demo" {
  limits {
    memory_max  = "1GiB"
    cpu_max     = 1
    scratch_max = "1MiB"
    network     = false
    paths_read  = ["/usr"]
    strict      = true
  }
}
`)
	if gaps := host.LimitGaps(strict); len(gaps) > 0 {
		_, err = h.Reload(strict)
		require.ErrorContains(t, err, `limits of plugin "demo" are strict, and `)
		require.Equal(t, 3, h.Status().Pool.Workers)
	}

	// More run at once now, in new processes, with the new limit, and are tried twice; what
	// runs goes on.
	spins := []task.Task{newTask("demo.spin", ""), newTask("demo.spin", "")}
	b.push(spins...)
	require.Eventually(t, func() bool { running, _ := h.Running(); return running == 3 }, 30*time.Second, time.Millisecond)
	got := b.records(append(slices.Clone(spins), long), 60*time.Second)
	require.Equal(t, task.Success, got[long.ID].RetC)
	for _, spin := range spins {
		require.Equal(t, task.TimeLimitExceeded, got[spin.ID].RetC)
		require.Equal(t, "time limit of 1s exceeded", got[spin.ID].RespM)
		require.Equal(t, 2, got[spin.ID].Run.Attempt)
		require.NotEqual(t, before, got[spin.ID].Run.Process)
	}

	// The same again changes nothing but for what waits for a restart.
	again, err := h.Reload(b.cfg)
	require.NoError(t, err)
	require.Empty(t, again.Restart)
	require.Len(t, again.Applied, len(r.Applied))
	again, err = h.Reload(b.cfg)
	require.NoError(t, err)
	require.Empty(t, append(again.Applied, again.Restart...))

	h.Stop(t.Context())
	_, err = h.Reload(b.cfg)
	require.ErrorIs(t, err, host.ErrStopping)
	require.NoError(t, h.Alive(t.Context()), "one that has stopped in order is not dead")
}

// A plugin whose block has changed has new processes for the next tasks, and only then.
func TestReloadOfAPlugin(t *testing.T) {
	t.Parallel()
	b := setup(t, "host {\n  number_of_workers = 1\n}\n")
	b.install("plugins/demo", "demo")
	h := b.open()
	defer h.Stop(t.Context())
	processes := func() map[int]bool {
		used := map[int]bool{}
		for range 5 {
			noop := newTask("demo.noop", "")
			b.push(noop)
			used[b.records([]task.Task{noop}, 30*time.Second)[noop.ID].Run.Process] = true
		}
		return used
	}
	intersect := func(a, b map[int]bool) bool {
		for pid := range a {
			if b[pid] {
				return true
			}
		}
		return false
	}
	processes()
	require.Eventually(t, func() bool { // the one that comes up last is the next to be used
		plugins := h.Status().Pool.Plugins
		return len(plugins) == 1 && plugins[0].Starting == 0 && plugins[0].Busy == 0
	}, 30*time.Second, 10*time.Millisecond)
	first := processes()
	_, err := h.Reload(b.parse("host {\n  number_of_workers = 1\n  task_execution_time = 5\n}\nplugin \"demo\" {\n  max_tasks = 900\n}\n"))
	require.NoError(t, err)
	second := processes()
	require.True(t, intersect(first, second), "what the processes are started with is the same: %v, %v", first, second)
	_, err = h.Reload(b.parse("host {\n  number_of_workers = 1\n}\nplugin \"demo\" {\n  environment = { A = \"b\" }\n}\n"))
	require.NoError(t, err)
	third := processes()
	require.False(t, intersect(second, third), "%v, %v", second, third)
}

// Configurations come and go by the dozen while tasks run and plugins change: each task is
// run once and succeeds.
func TestReloadWhileTasksRun(t *testing.T) {
	t.Parallel()
	b := setup(t, "host {\n  number_of_workers = 2\n}\n")
	b.install("plugins/demo", "demo")
	h := b.open()
	tasks := many(1500, "demo.noop")
	for range 20 {
		tasks = append(tasks, newTask("demo.sleep", `{"seconds":0.05}`))
	}
	b.push(tasks...)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	reloads := make([]int, 2)
	configs := []*config.Config{b.cfg, b.parse(`
host {
  number_of_workers = 4
  max_attempts      = 3
}
plugin "demo" {
  environment = { A = "b" }
}
`)}
	for i := range reloads {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := h.Reload(configs[reloads[i]%2]); err != nil {
					return
				}
				reloads[i]++
				_, _ = h.Running()
				_ = h.Alive(ctx)
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond): // processes take some time to start
				}
			}
		})
	}
	touch := filepath.Join(b.dir, "plugins", "demo")
	for range 3 { // the catalog's changes, too
		now := time.Now()
		require.NoError(t, os.Chtimes(touch, now, now))
		time.Sleep(50 * time.Millisecond)
	}
	for id, r := range b.records(tasks, 90*time.Second) {
		require.Equal(t, task.Success, r.RetC, id)
		require.Equal(t, 1, r.Run.Attempt, id)
	}
	cancel()
	wg.Wait()
	require.Greater(t, reloads[0]+reloads[1], 4)
	h.Stop(t.Context())
	require.Zero(t, b.empty().Dead)
}
