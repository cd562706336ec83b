package pool

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/task"
)

// bundle is a pool over real processes, and all outcomes so far.
type bundle struct {
	*Pool
	t        testing.TB
	launcher *process.Launcher

	mu       sync.Mutex
	outcomes []Outcome
	logs     []string
	broken   []string
	n        int
}

func (b *bundle) Log(_ string, _ int, j *Job, l *pluginpb.Log) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs = append(b.logs, l.Message)
}
func (b *bundle) Logs(level int32) bool                { return level >= 0 }
func (b *bundle) Running(*Job, string, int, time.Time) {}
func (b *bundle) State(*Job, *pluginpb.State)          {}
func (b *bundle) Progress(*Job, *pluginpb.Progress)    {}
func (b *bundle) Push(_ *Job, _ *pluginpb.Push, r func(*pluginpb.PushReply)) {
	r(&pluginpb.PushReply{})
}
func (b *bundle) add(outcomes []Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outcomes = append(b.outcomes, outcomes...)
}

func setup(t *testing.T, workers int) *bundle {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := process.NewLauncher(t.TempDir(), quiet, hclog.NewNullLogger(), func(process.Line) {})
	require.NoError(t, err)
	b := &bundle{t: t, launcher: l}
	b.Pool = New(Options{Workers: workers, Launcher: l, Logger: quiet, Observer: b,
		OnBroken: func(p string, _ int, problem string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.broken = append(b.broken, p+": "+problem)
		}})
	received := make(chan struct{})
	go func() {
		defer close(received)
		for o := range b.Outcomes() {
			b.add(o)
		}
	}()
	t.Cleanup(func() {
		b.Close()
		<-received
		require.NoError(t, l.Close())
	})
	return b
}

var demoTypes = []string{"demo.noop", "demo.sleep", "demo.spin", "demo.crash", "demo.error", "demo.panic", "demo.test"}

func demo(t *testing.T) Plugin {
	return Plugin{Name: "demo", Generation: 1, Types: demoTypes, KillGrace: 5 * time.Second,
		Spec: process.Spec{Plugin: "demo", Path: testbin.Build(t, "plugins/demo"), StartTimeout: 30 * time.Second}}
}

func (b *bundle) job(taskType string, params map[string]any, limit time.Duration) *Job {
	b.n++
	raw, err := json.Marshal(params)
	require.NoError(b.t, err)
	if params == nil {
		raw = nil
	}
	return &Job{Task: task.Task{ID: task.ID(fmt.Sprintf("%s-%d", taskType, b.n)), Type: taskType, Params: raw}, Attempt: 1, Limit: limit}
}

func (b *bundle) jobs(n int, taskType string) (jobs []*Job) {
	for range n {
		jobs = append(jobs, b.job(taskType, nil, 0))
	}
	return jobs
}

// wait returns the outcomes once there are n, by job.
func (b *bundle) wait(n int) map[task.ID]Outcome {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.outcomes) >= n
	}, 60*time.Second, time.Millisecond, "outcomes are missing")
	b.mu.Lock()
	defer b.mu.Unlock()
	m := map[task.ID]Outcome{}
	for _, o := range b.outcomes {
		if _, dup := m[o.Job.Task.ID]; dup {
			require.Fail(b.t, "two outcomes of one job", o.Job.Task.ID)
		}
		m[o.Job.Task.ID] = o
	}
	return m
}

func TestManyShortTasks(t *testing.T) {
	t.Parallel()
	b := setup(t, 4)
	b.SetPlugins([]Plugin{demo(t)})
	const n = 5000
	require.NoError(t, b.Submit(b.jobs(n, "demo.noop")))
	pids := map[int]bool{}
	for _, o := range b.wait(n) {
		require.Equal(t, Ended, o.Kind)
		require.EqualValues(t, task.Success, o.Result.ReturnCode)
		pids[o.PID] = true
	}
	require.LessOrEqual(t, len(pids), 4)
	require.Greater(t, b.Want(), 4, "short tasks are wanted in windows")
	s := b.Status()
	require.Zero(t, s.Busy)
	require.Zero(t, s.Waiting)
}

// One process runs one task at a time: with n workers, n sleeping tasks have n processes.
func TestOneProcessOneTask(t *testing.T) {
	t.Parallel()
	b := setup(t, 3)
	b.SetPlugins([]Plugin{demo(t)})
	for range 3 {
		require.NoError(t, b.Submit([]*Job{b.job("demo.sleep", map[string]any{"seconds": 0.3}, 0)}))
	}
	pids := map[int]bool{}
	for _, o := range b.wait(3) {
		require.Equal(t, Ended, o.Kind)
		pids[o.PID] = true
	}
	require.Len(t, pids, 3)
	require.Equal(t, 3, b.Want(), "slow tasks are wanted one for each worker")
}

func TestTimeLimitKillsOneTask(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	b.SetPlugins([]Plugin{demo(t)})
	spin := b.job("demo.spin", nil, 2*time.Second)
	require.NoError(t, b.Submit([]*Job{spin}))
	sleep := b.job("demo.sleep", map[string]any{"seconds": 1.5}, 0)
	require.NoError(t, b.Submit([]*Job{sleep}))
	got := b.wait(2)
	o := got[spin.Task.ID]
	require.Equal(t, Died, o.Kind)
	require.Equal(t, process.ReasonTimeout, o.Exit.Reason)
	require.Equal(t, syscall.SIGKILL, o.Exit.Signal)
	require.GreaterOrEqual(t, o.Duration, 2*time.Second)
	require.Contains(t, o.Dump, "goroutine", "the stacks of the process before the kill")
	require.Equal(t, Ended, got[sleep.Task.ID].Kind)

	require.NoError(t, b.Submit(b.jobs(1, "demo.noop")))
	require.Equal(t, Ended, b.wait(3)["demo.noop-3"].Kind)
}

// A crash is charged to the task that ran, and to no other of its window.
func TestCrashIsChargedToItsTask(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{demo(t)})
	// Learn that both types are short, so that crashing tasks land in full windows.
	require.NoError(t, b.Submit(b.jobs(100, "demo.noop")))
	b.wait(100)
	b.call(func() { b.groups["demo"].learn("demo.crash", time.Microsecond) })
	var jobs []*Job
	for i := range 200 {
		if i%20 == 10 {
			jobs = append(jobs, b.job("demo.crash", nil, 0))
		} else {
			jobs = append(jobs, b.job("demo.noop", nil, 0))
		}
	}
	require.NoError(t, b.Submit(jobs))
	for id, o := range b.wait(300) {
		if o.Job.Task.Type == "demo.crash" {
			require.Equal(t, Died, o.Kind, id)
			require.Equal(t, process.ReasonSignal, o.Exit.Reason, id)
			require.Equal(t, syscall.SIGSEGV, o.Exit.Signal, id)
		} else {
			require.Equal(t, Ended, o.Kind, id)
			require.Zero(t, o.Job.requeues, "what had ended before the crash does not run again")
		}
	}
}

// Tasks that wait behind one that turns out slow are called back and run elsewhere.
func TestRecall(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	b.SetPlugins([]Plugin{demo(t)})
	require.NoError(t, b.Submit(b.jobs(100, "demo.noop")))
	b.wait(100)
	b.call(func() { b.groups["demo"].learn("demo.sleep", time.Microsecond) })
	// One worker is taken, so that the window of the other gets all.
	slow := b.job("demo.sleep", map[string]any{"seconds": 60.0}, 0)
	other := b.job("demo.sleep", map[string]any{"seconds": 60.0}, 0)
	require.NoError(t, b.Submit(append([]*Job{slow, other}, b.jobs(50, "demo.noop")...)))
	// Both workers sleep: what is called back waits for a worker, and a third cannot be.
	require.Eventually(t, func() (ok bool) {
		b.call(func() {
			held := 0
			for w := range b.groups["demo"].busy {
				held += w.held
			}
			ok = held == 2
		})
		return ok
	}, 4*time.Second, time.Millisecond, "tasks wait behind a slow one")
	b.Kill(slow, process.ReasonCancelled, "test")
	got := b.wait(151)
	require.Equal(t, Died, got[slow.Task.ID].Kind)
	b.Kill(other, process.ReasonCancelled, "test")
	for id, o := range b.wait(152) {
		if id != slow.Task.ID && id != other.Task.ID {
			require.Equal(t, Ended, o.Kind, id)
		}
	}
}

// A cancelled task may end by itself; one that does not is killed when the grace is over, and
// one that waits never runs.
func TestCancel(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	b.SetPlugins([]Plugin{demo(t)})
	sleep := map[string]any{"seconds": 600}
	jobs := []*Job{b.job("demo.sleep", sleep, 0), b.job("demo.spin", nil, 0)}
	require.NoError(t, b.Submit(jobs))
	// One that has not begun yet would end by itself.
	require.Eventually(t, func() bool {
		begun := 0
		b.call(func() {
			for _, g := range b.groups {
				for w := range g.busy {
					begun += int(w.proc.Progress().Begun)
				}
			}
		})
		return begun == 2
	}, 20*time.Second, 5*time.Millisecond)
	waiting := b.job("demo.sleep", sleep, 0)
	require.NoError(t, b.Submit([]*Job{waiting}))
	began := time.Now()
	b.Cancel(waiting, time.Hour, "not wanted")
	require.Equal(t, Returned, b.wait(1)[waiting.Task.ID].Kind)

	b.Cancel(jobs[0], time.Hour, "not wanted")
	o := b.wait(2)[jobs[0].Task.ID]
	require.Equal(t, Ended, o.Kind, "its context was cancelled, and it has taken the hint")
	require.Contains(t, o.Result.GetFailure().GetMessage(), "not wanted")

	b.Cancel(jobs[1], time.Hour, "not wanted")
	b.Cancel(jobs[1], 300*time.Millisecond, "now")
	o = b.wait(3)[jobs[1].Task.ID]
	require.Equal(t, Died, o.Kind)
	require.Equal(t, process.ReasonCancelled, o.Exit.Reason)
	require.Equal(t, "now", o.Exit.Detail)
	require.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond)
	b.Cancel(jobs[1], 0, "it has ended")

	at := b.job("demo.sleep", sleep, 0)
	require.NoError(t, b.Submit([]*Job{at}))
	require.Eventually(t, func() bool { return b.Status().Busy == 1 }, 20*time.Second, 5*time.Millisecond)
	b.Cancel(at, 0, "at once")
	require.NotEqual(t, Ended, b.wait(4)[at.Task.ID].Kind, "without a grace it is not asked")
}

func TestUnserved(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	require.NoError(t, b.Submit(b.jobs(1, "demo.noop")))
	o := b.wait(1)["demo.noop-1"]
	require.Equal(t, Unserved, o.Kind)
	require.Equal(t, `no plugin serves task type "demo.noop"`, o.Reason)
	b.SetPlugins([]Plugin{demo(t)})
	require.NoError(t, b.Submit(b.jobs(1, "demo.noop")))
	require.Equal(t, Ended, b.wait(2)["demo.noop-2"].Kind)
	b.SetPlugins(nil)
	require.NoError(t, b.Submit(b.jobs(1, "demo.noop")))
	require.Equal(t, Unserved, b.wait(3)["demo.noop-3"].Kind)
}

func TestPluginThatDoesNotComeUp(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	pl := demo(t)
	pl.Spec.Path = testbin.Build(t, "internal/chaosplugin")
	pl.Spec.Env = []string{"LEPTIR_TEST_MODE=exit-at-start"}
	b.SetPlugins([]Plugin{pl})
	require.NoError(t, b.Submit(b.jobs(3, "demo.noop")))
	for _, o := range b.wait(3) {
		require.Equal(t, Unserved, o.Kind)
		require.Contains(t, o.Reason, "exited with code 7")
		require.Contains(t, o.Reason, "cannot find the moon")
	}
	// A new binary is tried at once.
	good := demo(t)
	good.Generation = 2
	b.SetPlugins([]Plugin{good})
	require.NoError(t, b.Submit(b.jobs(1, "demo.noop")))
	require.Equal(t, Ended, b.wait(4)["demo.noop-4"].Kind)
}

func TestRecycling(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		set  func(*Plugin)
		want int // processes for 6 tasks one after the other
	}{
		{"never", func(*Plugin) {}, 1},
		{"fresh", func(p *Plugin) { p.Fresh = true; p.Spares = 2 }, 6},
		{"max_tasks", func(p *Plugin) { p.MaxTasks = 2 }, 3},
		{"max_age", func(p *Plugin) { p.MaxAge = time.Nanosecond }, 6},
		{"memory_max", func(p *Plugin) { p.MemoryMax = 1 }, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, 2)
			pl := demo(t)
			tt.set(&pl)
			b.SetPlugins([]Plugin{pl})
			pids := map[int]bool{}
			for i := range 6 {
				j := b.job("demo.noop", nil, 0)
				require.NoError(t, b.Submit([]*Job{j}))
				pids[b.wait(i + 1)[j.Task.ID].PID] = true
			}
			require.Len(t, pids, tt.want)
			require.Eventually(t, func() bool { return b.launcher.Live() <= pl.Spares+1 }, 20*time.Second, time.Millisecond)
		})
	}
}

func TestFreshRunsEachTaskInItsOwnProcess(t *testing.T) {
	t.Parallel()
	b := setup(t, 4)
	pl := demo(t)
	pl.Fresh, pl.Spares = true, 2
	b.SetPlugins([]Plugin{pl})
	require.NoError(t, b.Submit(b.jobs(40, "demo.noop")))
	pids := map[int]bool{}
	for _, o := range b.wait(40) {
		require.Equal(t, Ended, o.Kind)
		pids[o.PID] = true
	}
	require.Len(t, pids, 40)
}

func TestNewGenerationTakesOver(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	pl := demo(t)
	b.SetPlugins([]Plugin{pl})
	old := b.job("demo.sleep", map[string]any{"seconds": 1.0}, 0)
	require.NoError(t, b.Submit([]*Job{old}))
	require.Eventually(t, func() bool { return b.Status().Busy == 1 }, 20*time.Second, time.Millisecond)
	pl.Generation = 2
	b.SetPlugins([]Plugin{pl})
	fresh := b.job("demo.noop", nil, 0)
	require.NoError(t, b.Submit([]*Job{fresh}))
	got := b.wait(2)
	require.Equal(t, Ended, got[old.Task.ID].Kind, "the running task goes on")
	require.Equal(t, Ended, got[fresh.Task.ID].Kind)
	require.NotEqual(t, got[old.Task.ID].PID, got[fresh.Task.ID].PID)
	require.Eventually(t, func() bool { return b.launcher.Live() == 1 }, 20*time.Second, time.Millisecond, "the old process ends")
}

func TestDrain(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{demo(t)})
	run := b.job("demo.sleep", map[string]any{"seconds": 0.5}, 0)
	require.NoError(t, b.Submit([]*Job{run}))
	require.Eventually(t, func() bool { return b.Status().Busy == 1 }, 20*time.Second, time.Millisecond)
	require.NoError(t, b.Submit(b.jobs(10, "demo.noop")))
	b.Drain()
	require.Zero(t, b.Want())
	require.NoError(t, b.Submit(b.jobs(1, "demo.noop")))
	for id, o := range b.wait(12) {
		if id == run.Task.ID {
			require.Equal(t, Ended, o.Kind)
		} else {
			require.Equal(t, Returned, o.Kind)
		}
	}
	b.Close()
	require.ErrorIs(t, b.Submit(nil), ErrClosed)
}

func TestCloseKillsWhatRuns(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	b.SetPlugins([]Plugin{demo(t)})
	spin := b.job("demo.spin", nil, 0)
	require.NoError(t, b.Submit([]*Job{spin}))
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.logs) > 0 // it has begun
	}, 20*time.Second, time.Millisecond)
	b.Close()
	o := b.wait(1)[spin.Task.ID]
	require.Equal(t, Died, o.Kind)
	require.Equal(t, process.ReasonShutdown, o.Exit.Reason)
}

// Two busy plugins share the workers; neither starves.
func TestPluginsShareWorkers(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	one, two := demo(t), demo(t)
	one.Types = []string{"demo.noop"}
	two.Name, two.Spec.Plugin, two.Types = "other", "other", []string{"demo.test"}
	one.Spares, two.Spares = 2, 2
	b.SetPlugins([]Plugin{one, two})
	// Both are up, and known to be short, before it counts.
	require.NoError(t, b.Submit(append(b.jobs(50, "demo.noop"), b.jobs(50, "demo.test")...)))
	b.wait(100)
	require.Eventually(t, func() bool {
		s := b.Status()
		return s.Plugins[0].Idle >= 2 && s.Plugins[1].Idle >= 2
	}, 20*time.Second, time.Millisecond)
	require.NoError(t, b.Submit(append(b.jobs(3000, "demo.noop"), b.jobs(3000, "demo.test")...)))
	b.wait(6100)
	b.mu.Lock()
	defer b.mu.Unlock()
	firstHalf := map[string]int{}
	for _, o := range b.outcomes[100:3100] {
		firstHalf[o.Plugin]++
	}
	require.Greater(t, firstHalf["demo"], 300, firstHalf)
	require.Greater(t, firstHalf["other"], 300, firstHalf)
}

func TestProtocolBreaches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ task, want string }{
		{"wrong-id", `it answered task "somebody-else" while it was running`},
		{"twice", `which it was not running`},
		{"unasked-recall", `it gave tasks back that nobody asked for`},
		{"end-stream", `lost stream`},
	} {
		t.Run(tt.task, func(t *testing.T) {
			t.Parallel()
			b := setup(t, 1)
			b.SetPlugins([]Plugin{{Name: "chaos", Generation: 1, Types: []string{tt.task, "ok"}, KillGrace: time.Second,
				Spec: process.Spec{Plugin: "chaos", Path: testbin.Build(t, "internal/chaosplugin"), Env: []string{"LEPTIR_TEST_MODE=serve"}}}})
			bad := b.job(tt.task, nil, 0)
			require.NoError(t, b.Submit([]*Job{bad}))
			o := b.wait(1)[bad.Task.ID]
			if tt.task == "twice" { // the breach comes after the task's end
				require.Equal(t, Ended, o.Kind)
			} else {
				require.Equal(t, Died, o.Kind)
				require.Contains(t, o.Exit.String()+string(o.Exit.Reason), tt.want)
			}
			good := b.job("ok", nil, 0)
			require.NoError(t, b.Submit([]*Job{good}))
			got := b.wait(2)[good.Task.ID]
			require.Equal(t, Ended, got.Kind)
			require.NotEqual(t, o.PID, got.PID, "a process that broke the rules is never used again")
		})
	}
}

func BenchmarkNoop(b *testing.B) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := process.NewLauncher(b.TempDir(), quiet, hclog.NewNullLogger(), func(process.Line) {})
	require.NoError(b, err)
	defer l.Close()
	p := New(Options{Workers: 4, Launcher: l, Logger: quiet, Observer: &bundle{}})
	defer p.Close()
	p.SetPlugins([]Plugin{{Name: "demo", Generation: 1, Types: demoTypes, Spec: process.Spec{Plugin: "demo", Path: testbin.Build(b, "plugins/demo")}}})
	done := make(chan struct{})
	received := 0
	go func() {
		for o := range p.Outcomes() {
			if received += len(o); received == b.N+1 {
				close(done)
			}
		}
	}()
	require.NoError(b, p.Submit([]*Job{{Task: task.Task{ID: "warm", Type: "demo.noop"}}}))
	b.ResetTimer()
	for i := 0; i < b.N; {
		n := min(256, b.N-i)
		jobs := make([]*Job, n)
		for k := range jobs {
			jobs[k] = &Job{Task: task.Task{ID: task.ID(strconv.Itoa(i + k)), Type: "demo.noop"}, Attempt: 1, Limit: time.Minute}
		}
		for p.Want() == 0 {
			<-p.Changed()
		}
		require.NoError(b, p.Submit(jobs))
		i += n
	}
	<-done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}
