package pool

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/task"
)

// A process can die between its last job and the next one that the pool hands it, before
// the pool has heard of its death: that job runs in another process.
func TestNoJobIsHandedToTheDead(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{demo(t)})
	require.NoError(t, b.Submit(b.jobs(1, "demo.noop")))
	b.wait(1)
	late := b.jobs(1, "demo.noop")
	b.call(func() {
		w := b.groups["demo"].idle[0]
		w.proc.Kill(process.ReasonSignal, "test")
		<-w.quit
		for len(b.events) == 0 { // its death is told, and not heard of yet
			time.Sleep(time.Millisecond)
		}
		b.accept(late)
	})
	require.Equal(t, Ended, b.wait(2)[late[0].Task.ID].Kind)
}

// Tasks that wait behind crashing ones are not to blame, however often that happens to them.
func TestWaitingBehindCrashesIsNoBlame(t *testing.T) {
	t.Parallel()
	j := &Job{Task: task.Task{Type: "short"}, seq: 5}
	crashed := process.Exit{Reason: process.ReasonSignal}
	for range 10 {
		require.False(t, j.charged(false, nil, process.Progress{Kept: true, Begun: 2, Ended: 1}, crashed))
	}
	require.False(t, j.charged(true, nil, process.Progress{Kept: true, Begun: 5, Ended: 5}, crashed), "its result was lost on the way")
	require.False(t, j.charged(false, nil, process.Progress{Kept: true, Begun: 6, Ended: 5}, crashed), "lost, but not the first")
	// From now on it has a process for itself.
	g := newGroup(Plugin{})
	g.learn("short", time.Microsecond)
	g.queue = []*Job{{Task: task.Task{Type: "short"}}, j, {Task: task.Task{Type: "short"}}}
	for _, want := range []int{1, 1, 1} {
		jobs, _ := g.next(0, 0, windowMax)
		require.Len(t, jobs, want)
	}
	// But a process's word is not enough for ever.
	for range requeueMost - 2 {
		require.False(t, j.charged(true, nil, process.Progress{Kept: true}, crashed))
	}
	require.True(t, j.charged(true, nil, process.Progress{Kept: true}, crashed))
}

// A kill is for one task: those that its process had run on to do not suffer for it, nor does one
// whose result is there.
func TestKillIsChargedToItsTask(t *testing.T) {
	t.Parallel()
	of := func(seq uint64) *Job { return &Job{seq: seq} }
	killed := func(r process.Reason) process.Exit { return process.Exit{Reason: r} }
	aim, next := of(5), of(6)
	running, moved := process.Progress{Kept: true, Begun: 5, Ended: 4}, process.Progress{Kept: true, Begun: 6, Ended: 5}
	for _, reason := range []process.Reason{process.ReasonTimeout, process.ReasonCancelled, process.ReasonLease} {
		require.True(t, aim.charged(true, aim, running, killed(reason)), reason)
		require.False(t, next.charged(false, aim, running, killed(reason)), reason)
		require.True(t, aim.charged(true, aim, moved, killed(reason)), "%s: no result tells what came of it", reason)
		require.False(t, next.charged(true, aim, moved, killed(reason)), "%s: it has begun meanwhile", reason)
	}
	require.False(t, of(7).charged(true, of(7), moved, killed(process.ReasonCancelled)), "it has not begun")
}

// A task whose result has not come yet, though it has ended, can be killed no more: the process is
// at work on another.
func TestKillOfWhatIsOver(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{{Name: "chaos", Generation: 1, Types: []string{"answer-later", "nap"},
		Spec: process.Spec{Plugin: "chaos", Path: testbin.Build(t, "internal/chaosplugin"), Env: []string{"LEPTIR_TEST_MODE=serve"}}}})
	b.call(func() {
		b.groups["chaos"].learn("answer-later", time.Microsecond)
		b.groups["chaos"].learn("nap", time.Microsecond)
	})
	over, next := b.job("answer-later", nil, 0), b.job("nap", nil, 0)
	require.NoError(t, b.Submit([]*Job{over, next}))
	require.Eventually(t, func() (begun bool) {
		b.call(func() {
			for w := range b.groups["chaos"].busy {
				begun = w.proc.Progress().Begun == 2
			}
		})
		return begun
	}, 20*time.Second, time.Millisecond)
	b.Kill(over, process.ReasonLease, "test")
	for id, o := range b.wait(2) {
		require.Equal(t, Ended, o.Kind, id)
		require.Zero(t, o.Job.requeues, id)
	}

	// One whose result never comes is killed for it.
	never, waits := b.job("answer-later", nil, 0), b.job("answer-later", nil, 0)
	require.NoError(t, b.Submit([]*Job{never, waits}))
	b.Cancel(never, 100*time.Millisecond, "test")
	outcomes := b.wait(3)
	require.Equal(t, Died, outcomes[never.Task.ID].Kind)
	require.Equal(t, process.ReasonCancelled, outcomes[never.Task.ID].Exit.Reason)
	b.Kill(waits, process.ReasonCancelled, "test")
	b.wait(4)
}

// A plugin with jobs gets a worker at once, however long the windows are of one that has all, and
// no more than its share.
func TestLongWindowsMakeWay(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	hot, other := demo(t), demo(t)
	hot.Spares, other.Spares = 2, 2
	other.Name, other.Types = "other", []string{"demo.noop"}
	hot.Types = []string{"demo.sleep"}
	b.SetPlugins([]Plugin{hot, other})
	require.Eventually(t, func() bool {
		s := b.Status()
		return s.Plugins[0].Idle == 2 && s.Plugins[1].Idle == 2
	}, 20*time.Second, 5*time.Millisecond)
	// They look short, and fill the windows: 256 of 10 ms.
	b.call(func() { b.groups["demo"].learn("demo.sleep", 200*time.Microsecond) })
	var jobs []*Job
	for range 600 {
		jobs = append(jobs, b.job("demo.sleep", map[string]any{"seconds": 0.01}, 0))
	}
	require.NoError(t, b.Submit(jobs))
	b.wait(4)
	quick := b.jobs(1, "demo.noop")
	require.NoError(t, b.Submit(quick))
	var done map[task.ID]Outcome
	require.Eventually(t, func() bool {
		done = b.wait(0)
		_, ok := done[quick[0].Task.ID]
		return ok
	}, 20*time.Second, time.Millisecond)
	require.Less(t, len(done), 150, "it did not wait for 2.5 s of work")
	for id, o := range b.wait(601) {
		require.Equal(t, Ended, o.Kind, id)
		require.Zero(t, o.Job.requeues, id)
	}
}

// A window of tasks with large parameters is no larger than a message may be.
func TestLargeParameters(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{demo(t)})
	require.NoError(t, b.Submit(b.jobs(100, "demo.noop")))
	b.wait(100)
	jobs := b.jobs(60, "demo.noop")
	for _, j := range jobs {
		j.Task.Params = json.RawMessage(`{"x":"` + strings.Repeat("x", task.MaxParamsBytes-8) + `"}`)
	}
	require.NoError(t, b.Submit(jobs))
	pids := map[int]bool{}
	for id, o := range b.wait(160) {
		require.Equal(t, Ended, o.Kind, id)
		pids[o.PID] = true
	}
	require.Len(t, pids, 1)
}

// A plugin that does not come up keeps no others from the workers.
func TestBrokenPluginStarvesNobody(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	bad, good := demo(t), demo(t)
	bad.Name, bad.Types = "bad", []string{"bad"}
	bad.Spec.Path = testbin.Build(t, "internal/chaosplugin")
	bad.Spec.Env = []string{"LEPTIR_TEST_MODE=exit-at-start"}
	b.SetPlugins([]Plugin{bad, good})
	b.call(func() {
		for range brokenAfter {
			b.groups["bad"].failed(time.Now(), "test")
		}
	})
	begin := time.Now()
	require.NoError(t, b.Submit(b.jobs(10, "bad")))
	for _, o := range b.wait(10) {
		require.Equal(t, Unserved, o.Kind)
	}
	require.Less(t, time.Since(begin), 20*time.Second, "they do not wait for its next try")
	require.Positive(t, b.Want())
}

// max_tasks holds for a process that is handed whole windows, too.
func TestMaxTasksBoundsWindows(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	pl := demo(t)
	pl.MaxTasks = 10
	b.SetPlugins([]Plugin{pl})
	b.call(func() { b.groups["demo"].learn("demo.noop", time.Microsecond) })
	require.NoError(t, b.Submit(b.jobs(55, "demo.noop")))
	served := map[int]int{}
	for _, o := range b.wait(55) {
		served[o.PID]++
	}
	for pid, n := range served {
		require.LessOrEqual(t, n, 10, pid)
	}
}

// A plugin that keeps no mark gets one task at a time, as the protocol promises.
func TestOneTaskAtATimeWithoutAMark(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{{Name: "chaos", Generation: 1, Types: []string{"ok", "hang"},
		Spec: process.Spec{Plugin: "chaos", Path: testbin.Build(t, "internal/chaosplugin"), Env: []string{"LEPTIR_TEST_MODE=serve", "LEPTIR_TEST_NO_MARK=1"}}}})
	b.call(func() {
		b.groups["chaos"].learn("ok", time.Microsecond)
		b.groups["chaos"].learn("hang", time.Microsecond)
	})
	hang := b.job("hang", nil, 0)
	require.NoError(t, b.Submit(append([]*Job{hang}, b.jobs(20, "ok")...)))
	require.Eventually(t, func() bool { return b.Status().Busy == 1 }, 20*time.Second, time.Millisecond)
	b.call(func() {
		for w := range b.groups["chaos"].busy {
			require.Equal(t, 1, w.held)
		}
	})
	b.Kill(hang, process.ReasonCancelled, "test")
	for id, o := range b.wait(21) {
		require.Equal(t, id != hang.Task.ID, o.Kind == Ended, id)
	}
}

// A job that is killed while it waits in a window takes nobody with it, and does not run.
func TestKillInAWindow(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{demo(t)})
	require.NoError(t, b.Submit(b.jobs(1, "demo.noop"))) // the process is up
	b.wait(1)
	b.call(func() {
		b.groups["demo"].learn("demo.sleep", time.Microsecond)
		b.groups["demo"].learn("demo.noop", time.Microsecond)
	})
	head := b.job("demo.sleep", map[string]any{"seconds": 0.5}, 0)
	behind := b.jobs(3, "demo.noop")
	b.call(func() {
		b.accept(append([]*Job{head}, behind...))
		b.schedule(time.Now())
		for w := range b.groups["demo"].busy {
			require.Equal(t, 4, w.held)
			require.True(t, w.kill(behind[1], 0, process.ReasonLease, "test"))
		}
	})
	got := b.wait(5)
	require.Equal(t, Ended, got[head.Task.ID].Kind, "its own lease is fine")
	require.Equal(t, Ended, got[behind[0].Task.ID].Kind)
	require.Equal(t, Returned, got[behind[1].Task.ID].Kind)
	require.Equal(t, Ended, got[behind[2].Task.ID].Kind)
}

// A job that is killed before it arrives, or on its way back, does not run.
func TestKillUnderWay(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{demo(t)})
	early := b.jobs(1, "demo.noop")
	b.Kill(early[0], process.ReasonLease, "test")
	require.NoError(t, b.Submit(early))
	require.Equal(t, Returned, b.wait(1)[early[0].Task.ID].Kind)

	back := b.jobs(1, "demo.noop")
	var w *worker
	require.NoError(t, b.Submit(b.jobs(1, "demo.noop")))
	b.wait(2)
	b.call(func() { w, back[0].group = b.groups["demo"].idle[0], b.groups["demo"] })
	b.Kill(back[0], process.ReasonLease, "test")
	b.call(func() {
		w.held++
		b.heard(event{worker: w, requeue: back})
	})
	require.Equal(t, Returned, b.wait(3)[back[0].Task.ID].Kind)
}

// A process that never answers a recall would stay idle for ever, and refuse every job.
func TestDeafProcessIsReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{{Name: "chaos", Generation: 1, Types: []string{"nap", "ok"}, KillGrace: time.Second,
		Spec: process.Spec{Plugin: "chaos", Path: testbin.Build(t, "internal/chaosplugin"), Env: []string{"LEPTIR_TEST_MODE=serve"}}}})
	require.NoError(t, b.Submit(b.jobs(20, "ok")))
	b.wait(20)
	b.call(func() { b.groups["chaos"].learn("nap", time.Microsecond) })
	require.NoError(t, b.Submit([]*Job{b.job("nap", nil, 0), b.job("ok", nil, 0)}))
	b.wait(22)
	last := b.job("ok", nil, 0)
	require.NoError(t, b.Submit([]*Job{last}))
	require.Equal(t, Ended, b.wait(23)[last.Task.ID].Kind)
}

// A task that floods the log by its log calls is cut to a rate; what is suppressed is told
// of, if need be when its process ends. Lines of a level that is not logged cost nothing.
func TestLogCallsAreLimited(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{{Name: "chaos", Generation: 1, Types: []string{"log-flood"}, MaxTasks: 1,
		Spec: process.Spec{Plugin: "chaos", Path: testbin.Build(t, "internal/chaosplugin"), Env: []string{"LEPTIR_TEST_MODE=serve"}}}})
	flood := b.job("log-flood", nil, 0)
	require.NoError(t, b.Submit([]*Job{flood}))
	require.Equal(t, Ended, b.wait(1)[flood.Task.ID].Kind)
	const lines = 20_000
	var passed, told int
	require.Eventually(t, func() bool { // its process ends after its task
		b.mu.Lock()
		defer b.mu.Unlock()
		passed, told = 0, 0
		for _, line := range b.logs {
			var n int
			if _, err := fmt.Sscanf(line, "log calls of tasks: (%d lines dropped: more than 256 KiB/s)", &n); err == nil {
				told += n
				continue
			}
			passed++
		}
		return passed+told == lines
	}, 30*time.Second, 5*time.Millisecond)
	require.Greater(t, passed, 900, "a burst is let through")
	require.Greater(t, told, lines/2)
}

// Answers to pushes that a process does not read are not kept without end.
func TestAnswersThatAreNotRead(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{demo(t)})
	j := b.job("demo.sleep", map[string]any{"seconds": 600}, 0)
	require.NoError(t, b.Submit([]*Job{j}))
	var w *worker
	require.Eventually(t, func() bool {
		b.call(func() {
			for _, g := range b.groups {
				for busy := range g.busy {
					w = busy
				}
			}
		})
		return w != nil && w.proc.Progress().Begun == 1
	}, 20*time.Second, 5*time.Millisecond)
	require.NoError(t, syscall.Kill(w.proc.PID(), syscall.SIGSTOP))
	reply := &pluginpb.PushReply{Id: strings.Repeat("x", 200)}
	ended := func() bool {
		select {
		case <-w.proc.Done():
			return true
		default:
			return false
		}
	}
	for n := 0; n < 20*repliesMost && !ended(); n++ {
		w.answer(reply)
	}
	o := b.wait(1)[j.Task.ID]
	require.Equal(t, Died, o.Kind)
	require.Equal(t, process.ReasonProtocol, o.Exit.Reason)
	require.Contains(t, o.Exit.Detail, "does not read the answers")
}

// A pool whose workers all work asks for many jobs at once, not for each by itself; where
// somebody waits it asks at once.
func TestJobsAreWantedInLots(t *testing.T) {
	t.Parallel()
	p := &Pool{opts: Options{Workers: 2}, changed: make(chan struct{}, 1), groups: map[string]*group{}}
	p.typical.add(windowBudget / 20)
	g := newGroup(Plugin{})
	p.groups["demo"] = g
	a, b := &worker{busy: true}, &worker{busy: true}
	g.busy[a], g.busy[b] = struct{}{}, struct{}{}
	const full = 2 * (20 + 5) // for each worker a window, and some ahead
	for _, c := range []struct{ held, want int }{{full, 0}, {full/2 + 1, 0}, {full / 2, full / 2}, {3, full - 3}} {
		a.held = c.held
		p.publish()
		require.Equal(t, c.want, p.Want(), c.held)
	}
	a.held, b.busy = full-1, false
	p.publish()
	require.Equal(t, 1, p.Want(), "for the worker that is free")
}
