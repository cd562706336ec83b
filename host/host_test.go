package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/daemon"
	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/task"
)

// bundle is a folder with a configuration, the brokers and stores that it names, and the
// hosts, real processes, that work on it.
type bundle struct {
	t      *testing.T
	dir    string
	path   string
	cfg    *config.Config
	broker brokers.Broker
	stores []config.OpenStore
}

func setup(t *testing.T, extra string) *bundle {
	t.Helper()
	dir := t.TempDir()
	b := &bundle{t: t, dir: dir, path: filepath.Join(dir, "leptir.hcl")}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "plugins"), 0o700))
	if !strings.Contains(extra, "host {") {
		extra += "\nhost {\n  number_of_workers = 4\n  lease_time = 2\n}\n"
	}
	require.NoError(t, os.WriteFile(b.path, []byte(extra), 0o600))
	var err error
	b.cfg, err = config.Load(b.path, daemon.Kinds())
	require.NoError(t, err)
	quiet := slog.New(slog.DiscardHandler)
	opened, err := b.cfg.OpenBrokers(t.Context(), quiet)
	require.NoError(t, err)
	b.broker = opened[0].Handle
	b.stores, err = b.cfg.OpenStores(t.Context(), quiet)
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, o := range opened {
			require.NoError(t, o.Handle.Close())
		}
		for _, s := range b.stores {
			require.NoError(t, s.Handle.Close())
		}
	})
	return b
}

// install puts a plugin binary into the plugin folder.
func (b *bundle) install(pkg, name string) {
	b.t.Helper()
	b.installWith(pkg, name, nil)
}

// installAnew is install of a binary that differs from all before it. It waits until the host has
// taken its copy.
func (b *bundle) installAnew(pkg, name string) {
	b.t.Helper()
	copies := func() []string {
		paths, err := filepath.Glob(filepath.Join(string(b.cfg.Host.StateDir), "plugins", "*", name))
		require.NoError(b.t, err)
		return paths
	}
	before := copies()
	b.installWith(pkg, name, []byte(uuid.NewString())) // behind its end, where nobody looks
	require.Eventually(b.t, func() bool {
		return slices.ContainsFunc(copies(), func(path string) bool { return !slices.Contains(before, path) })
	}, 30*time.Second, 20*time.Millisecond, "the host does not take the new binary up")
}

func (b *bundle) installWith(pkg, name string, tail []byte) {
	b.t.Helper()
	data, err := os.ReadFile(testbin.Build(b.t, pkg))
	require.NoError(b.t, err)
	data = append(data, tail...)
	part := filepath.Join(b.dir, "plugins", "."+name)
	require.NoError(b.t, os.WriteFile(part, data, 0o700))
	require.NoError(b.t, os.Rename(part, filepath.Join(b.dir, "plugins", name)))
}

// hostProcess is a running leptir-host.
type hostProcess struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}
	mu   sync.Mutex
	log  bytes.Buffer
}

// Write collects what the host prints.
func (h *hostProcess) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(p)
}

func (h *hostProcess) printed() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.String()
}

// host starts a host, with the given variables in its environment besides.
func (b *bundle) host(env ...string) *hostProcess {
	b.t.Helper()
	h := &hostProcess{t: b.t, done: make(chan struct{})}
	h.cmd = exec.Command(testbin.Build(b.t, "cmd/leptir-host"), "-config", b.path)
	h.cmd.Dir = b.dir
	h.cmd.Env = append(os.Environ(), env...)
	h.cmd.Stderr = h
	require.NoError(b.t, h.cmd.Start())
	go func() {
		_ = h.cmd.Wait()
		close(h.done)
	}()
	b.t.Cleanup(func() {
		h.signal(syscall.SIGKILL)
		<-h.done
		if b.t.Failed() {
			b.t.Log("host printed:\n" + h.printed())
		}
	})
	return h
}

func (h *hostProcess) signal(s syscall.Signal) { _ = h.cmd.Process.Signal(s) }

func (h *hostProcess) waitFor(text string) {
	h.t.Helper()
	require.Eventually(h.t, func() bool { return strings.Contains(h.printed(), text) }, 30*time.Second, 5*time.Millisecond, "host never printed "+text)
}

func (h *hostProcess) ended(within time.Duration) int {
	h.t.Helper()
	select {
	case <-h.done:
	case <-time.After(within):
		require.Fail(h.t, "the host does not end")
	}
	return h.cmd.ProcessState.ExitCode()
}

func (b *bundle) push(tasks ...task.Task) {
	b.t.Helper()
	for i := range tasks {
		tasks[i].PushedAt = time.Now()
		require.NoError(b.t, tasks[i].Validate())
	}
	require.NoError(b.t, b.broker.Push(b.t.Context(), tasks))
}

func newTask(taskType, params string) task.Task {
	return task.Task{ID: task.NewID(), Type: taskType, Params: json.RawMessage(params)}
}

func many(n int, taskType string) (all []task.Task) {
	for range n {
		all = append(all, newTask(taskType, ""))
	}
	return all
}

// records returns the completed records of the given tasks once there are all.
func (b *bundle) records(tasks []task.Task, within time.Duration) map[task.ID]task.Record {
	b.t.Helper()
	got := map[task.ID]task.Record{}
	missing := make([]task.ID, len(tasks))
	for i := range tasks {
		missing[i] = tasks[i].ID
	}
	// A few at a time, and of many not often: to ask takes the processor from the host.
	tick := 10 * time.Millisecond
	if len(tasks) > 1000 {
		tick *= 10
	}
	require.Eventually(b.t, func() bool {
		recs, err := b.stores[0].Handle.Get(context.Background(), missing[:min(100, len(missing))])
		if err != nil {
			return false
		}
		for _, r := range recs {
			if r.Status == task.Completed {
				got[r.ID] = r
			}
		}
		missing = slices.DeleteFunc(missing, func(id task.ID) bool {
			_, ok := got[id]
			return ok
		})
		return len(missing) == 0
	}, within, tick, "records are missing")
	return got
}

// empty waits until nothing is left in the broker but dead letters.
func (b *bundle) empty() brokers.Stats {
	b.t.Helper()
	var st brokers.Stats
	require.Eventually(b.t, func() bool {
		var err error
		st, err = b.broker.Stats(context.Background())
		return err == nil && st.Ready+st.Scheduled+st.Leased == 0
	}, 20*time.Second, 10*time.Millisecond)
	return st
}

func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// pids reads the pids that demo.spin writes down.
func pids(t *testing.T, file string) (all []int) {
	t.Helper()
	require.Eventually(t, func() bool {
		all = nil
		s, _ := os.ReadFile(file)
		for _, f := range strings.Fields(string(s)) {
			if n, err := strconv.Atoi(f); err == nil {
				all = append(all, n)
			}
		}
		return len(all) == 2
	}, 20*time.Second, time.Millisecond)
	return all
}

func TestEachEnding(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	b.install("plugins/demo", "demo")
	h := b.host()
	ok := newTask("demo.test", `{"to":"ann","n":3}`)
	fail := newTask("demo.error", `{"message":"no such mailbox"}`)
	panics := newTask("demo.panic", "")
	crash := newTask("demo.crash", "")
	spin := newTask("demo.spin", "")
	spin.TimeLimit = time.Second
	tasks := []task.Task{ok, fail, panics, crash, spin}
	b.push(tasks...)
	got := b.records(tasks, 30*time.Second)

	r := got[ok.ID]
	require.Equal(t, task.Success, r.RetC)
	require.Contains(t, r.RespM, "ann")
	require.Equal(t, "demo.test", r.Type)
	require.Equal(t, []int{1, 2, 3}, r.Run.States)
	require.NotEmpty(t, r.Meta)
	require.WithinDuration(t, time.Now(), r.ExStart, time.Minute)

	r = got[fail.ID]
	require.Equal(t, task.Error, r.RetC)
	require.Contains(t, r.RespM, "no such mailbox")

	r = got[panics.ID]
	require.Equal(t, task.Error, r.RetC)
	require.NotEmpty(t, r.Run.Stack)

	r = got[crash.ID]
	require.Equal(t, task.Error, r.RetC)
	require.Equal(t, "process died of SIGSEGV", r.RespM)
	require.Equal(t, "signal", r.Run.Exit.Reason)

	r = got[spin.ID]
	require.Equal(t, task.TimeLimitExceeded, r.RetC)
	require.Equal(t, "time limit of 1s exceeded", r.RespM)
	require.Equal(t, "timeout", r.Run.Exit.Reason)
	require.GreaterOrEqual(t, r.ExTime, 1.0)

	require.EqualValues(t, 4, b.empty().Dead, "what failed for good can be put back")
	h.signal(syscall.SIGTERM)
	require.Zero(t, h.ended(20*time.Second))
}

// The time limit ends the process and the child that it has forked, and the next task runs
// at once. Prints how late.
func TestTimeLimitOvershoot(t *testing.T) {
	if testing.Short() {
		t.Skip("20 time limits of a second each")
	}
	b := setup(t, "")
	b.install("plugins/demo", "demo")
	b.host()
	const runs = 20
	var late []time.Duration
	for i := range runs {
		file := filepath.Join(b.dir, fmt.Sprintf("pids-%d", i))
		spin := newTask("demo.spin", fmt.Sprintf(`{"pid_file":%q}`, file))
		spin.TimeLimit = time.Second
		b.push(spin)
		both := pids(t, file)
		require.True(t, alive(both[0]) && alive(both[1]))
		for alive(both[0]) || alive(both[1]) {
			time.Sleep(500 * time.Microsecond)
		}
		gone := time.Now()
		next := newTask("demo.noop", "")
		b.push(next)
		r := b.records([]task.Task{spin, next}, 20*time.Second)
		require.Equal(t, task.TimeLimitExceeded, r[spin.ID].RetC)
		require.Equal(t, task.Success, r[next.ID].RetC)
		require.NotEqual(t, r[spin.ID].Run.Process, r[next.ID].Run.Process)
		late = append(late, gone.Sub(r[spin.ID].ExStart.Add(time.Second)))
	}
	slices.Sort(late)
	t.Logf("parent and child gone after the limit of 1 s, over %d runs: p50 %v, max %v", runs, late[runs/2], late[runs-1])
	require.Less(t, late[runs-1], 2*time.Second, "far from the limit")
}

func TestHostKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	b.install("plugins/demo", "demo")
	tasks := many(1000, "demo.noop")
	for range 20 { // so that some run whenever the kill comes
		tasks = append(tasks, newTask("demo.sleep", `{"seconds":0.2}`))
	}
	h := b.host()
	b.push(tasks...)
	require.Eventually(t, func() bool {
		st, err := b.broker.Stats(context.Background())
		return err == nil && st.Leased > 0 && st.Ready < 1000
	}, 30*time.Second, time.Millisecond)
	plugins := children(t, h.cmd.Process.Pid)
	require.NotEmpty(t, plugins)
	h.signal(syscall.SIGKILL)
	h.ended(20 * time.Second)
	for _, pid := range plugins {
		require.Eventually(t, func() bool { return !alive(pid) }, 10*time.Second, time.Millisecond, "a plugin process outlives its host")
	}
	b.host()
	for id, r := range b.records(tasks, 60*time.Second) {
		require.Equal(t, task.Success, r.RetC, id)
	}
	require.Zero(t, b.empty().Dead)
}

// children returns the child processes of a process.
func children(t *testing.T, pid int) (all []int) {
	t.Helper()
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		s, _ := os.ReadFile(f)
		for _, c := range strings.Fields(string(s)) {
			n, err := strconv.Atoi(c)
			require.NoError(t, err)
			all = append(all, n)
		}
	}
	return all
}

func TestPluginDroppedIn(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	h := b.host()
	waits := newTask("demo.noop", "")
	b.push(waits)
	h.waitFor("tasks wait for their plugin")
	require.Eventually(t, func() bool {
		st, err := b.broker.Stats(context.Background())
		return err == nil && st.Parked == 1
	}, 20*time.Second, 5*time.Millisecond)
	item, err := b.broker.(brokers.Inspector).Find(t.Context(), waits.ID)
	require.NoError(t, err)
	require.Equal(t, `no plugin serves task type "demo.noop"`, item.Note)
	b.install("plugins/demo", "demo")
	r := b.records([]task.Task{waits}, 40*time.Second)
	require.Equal(t, task.Success, r[waits.ID].RetC)
	require.Equal(t, 1, r[waits.ID].Run.Attempt, "waiting is no attempt")
}

func TestScheduled(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	b.install("plugins/demo", "demo")
	h := b.host()
	h.waitFor("leptir-host is running")
	at := time.Now().Add(2 * time.Second)
	later := newTask("demo.noop", "")
	later.At = at
	b.push(later)
	r := b.records([]task.Task{later}, 30*time.Second)[later.ID]
	t.Logf("started %v after its time", r.ExStart.Sub(at))
	require.False(t, r.ExStart.Before(at), "started too early")
	require.Less(t, r.ExStart.Sub(at), 5*time.Second)
}

func TestDrain(t *testing.T) {
	t.Parallel()
	b := setup(t, "host {\n number_of_workers = 2\n lease_time = 30\n}\n")
	b.install("plugins/demo", "demo")
	h := b.host()
	tasks := []task.Task{}
	for range 6 {
		tasks = append(tasks, newTask("demo.sleep", `{"seconds":1}`))
	}
	b.push(tasks...)
	require.Eventually(t, func() bool {
		recs, err := b.stores[0].Handle.Get(context.Background(), []task.ID{tasks[0].ID, tasks[1].ID})
		return err == nil && len(recs) == 2
	}, 20*time.Second, time.Millisecond, "two tasks are in progress")
	h.signal(syscall.SIGTERM)
	require.Zero(t, h.ended(20*time.Second))
	st, err := b.broker.Stats(t.Context())
	require.NoError(t, err)
	require.Zero(t, st.Leased, "a drained host holds nothing")
	require.EqualValues(t, 4, st.Ready)
	b.host()
	for _, r := range b.records(tasks, 30*time.Second) {
		require.Equal(t, task.Success, r.RetC)
		require.Equal(t, 1, r.Run.Attempt)
	}
}

func TestSecondSignalKillsAndGivesBack(t *testing.T) {
	t.Parallel()
	b := setup(t, "host {\n number_of_workers = 2\n lease_time = 30\n shutdown_timeout = 60\n}\n")
	b.install("plugins/demo", "demo")
	h := b.host()
	file := filepath.Join(b.dir, "pids")
	spin := newTask("demo.spin", fmt.Sprintf(`{"pid_file":%q}`, file))
	b.push(spin)
	both := pids(t, file)
	h.signal(syscall.SIGTERM)
	h.waitFor("waiting for running ones")
	time.Sleep(time.Second) // until a signal counts as the second
	require.True(t, alive(both[0]), "a running task may go on")
	h.signal(syscall.SIGTERM)
	require.Zero(t, h.ended(20*time.Second))
	for _, pid := range both {
		require.False(t, alive(pid))
	}
	st, err := b.broker.Stats(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, st.Ready)
	recs, err := b.stores[0].Handle.Get(t.Context(), []task.ID{spin.ID})
	require.NoError(t, err)
	require.Equal(t, task.Pending, recs[0].Status)
	require.Contains(t, recs[0].Run.Note, "interrupted by the shutdown")
}

func TestBadStarts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, config string
		prepare      func(dir string)
		want         string
	}{
		{"misspelt", "host {\n number_of_worker = 3\n}\n", nil, `did you mean "number_of_workers"`},
		{"no plugin folder", "", nil, `plugin folder "`},
		{"database is a folder", "broker \"sqlite\" \"default\" {\n path = \"plugins\"\n}\n", func(dir string) { _ = os.Mkdir(filepath.Join(dir, "plugins"), 0o700) }, `broker "default"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "leptir.hcl")
			require.NoError(t, os.WriteFile(path, []byte(tt.config), 0o600))
			if tt.prepare != nil {
				tt.prepare(dir)
			}
			out, err := exec.Command(testbin.Build(t, "cmd/leptir-host"), "--config", path).CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, 1, exit.ExitCode())
			require.Contains(t, string(out), tt.want)
			require.NotContains(t, string(out), "goroutine ")
		})
	}
}

func TestBadPlugins(t *testing.T) {
	t.Parallel()
	b := setup(t, "plugin \"old\" {\n environment = { LEPTIR_TEST_MODE = \"wrong-version\" }\n}\n")
	b.install("plugins/demo", "demo")
	b.install("internal/chaosplugin", "old")
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "plugins", "text"), []byte("hello\n"), 0o700))
	h := b.host()
	h.waitFor("it speaks version 99 of leptir's plugin protocol")
	require.Contains(t, h.printed(), "plugin=text")
	good := newTask("demo.noop", "")
	b.push(good)
	b.records([]task.Task{good}, 20*time.Second)
}

// A task pushes others through its host, many at once, and they run.
func TestTasksPushTasks(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	b.install("internal/pushplugin", "push")
	b.host()
	fan := newTask("push.fan", `{"children":1000}`)
	b.push(fan)
	require.Equal(t, task.Success, b.records([]task.Task{fan}, 40*time.Second)[fan.ID].RetC)
	var leaves []task.Task
	for i := range 1000 {
		leaves = append(leaves, task.Task{ID: task.ID(fmt.Sprintf("%s-%d", fan.ID, i))})
	}
	b.records(leaves, 40*time.Second)
}

// A thousand tasks of one leptirctl call are all done, each leased and run once.
func TestThousandByOnePush(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	b.install("plugins/demo", "demo")
	b.host().waitFor("leptir-host is running")
	out, err := exec.Command(testbin.Build(t, "cmd/leptirctl"), "push", "demo.noop", "-number", "1000", "-config", b.path).Output()
	require.NoError(t, err)
	var tasks []task.Task
	for _, id := range strings.Fields(string(out)) {
		tasks = append(tasks, task.Task{ID: task.ID(id)})
	}
	require.Len(t, tasks, 1000)
	for id, r := range b.records(tasks, 60*time.Second) {
		require.Equal(t, task.Success, r.RetC, id)
		require.Equal(t, 1, r.Run.Attempt, id)
		require.Equal(t, 1, r.Run.Delivery%1_000_000, "task %s was leased more than once", id)
	}
	require.Equal(t, brokers.Stats{}, b.empty())
}
