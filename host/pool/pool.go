// Package pool owns which plugin process runs which task: it keeps warm spares, hands
// short tasks over in windows, recycles processes, swaps generations of a plugin, restarts
// with backoff, and decides whose doing a process's death is. One goroutine owns all of its
// tables; workers report to it. It knows nothing of brokers, leases or records: a Job comes
// in by Submit and leaves as an Outcome.
//
// The promise that it keeps: one process runs one task at a time, so that a kill kills one
// task.
package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backplane/leptir/host/process"
)

// Options configure a Pool.
type Options struct {
	// Workers is the most tasks that run at once.
	Workers  int
	Launcher *process.Launcher
	Logger   *slog.Logger
	Observer Observer
	// OnBroken is told when a plugin's processes keep failing outside of any task. It
	// must not block.
	OnBroken func(plugin string, generation int, problem string)
}

// maxExcess bounds the jobs that wait in the host for a plugin that may not use all workers.
const maxExcess = 1024

// Pool runs jobs. Its methods are safe for concurrent use.
type Pool struct {
	opts     Options
	observer Observer
	wg       sync.WaitGroup // workers' goroutines and starts

	submit   chan []*Job
	events   chan event
	started  chan start
	plugins  chan []Plugin
	calls    chan func()
	outcomes chan []Outcome
	changed  chan struct{}
	done     chan struct{}
	want     atomic.Int64

	startCtx  context.Context
	stopStart context.CancelFunc

	// The loop owns what follows.
	groups   map[string]*group
	types    map[string]*group
	order    []*group
	turns    int // workers handed out so far
	pending  []Outcome
	typical  estimate // what tasks have lately needed, all types together
	draining bool
	closing  bool
}

// start is the end of a process's start.
type start struct {
	group *group
	gen   int
	proc  *process.Process
	err   error
}

// New returns a running pool without plugins. Close ends it.
func New(o Options) *Pool {
	p := &Pool{opts: o, observer: o.Observer,
		submit: make(chan []*Job), events: make(chan event, 64), started: make(chan start),
		plugins: make(chan []Plugin), calls: make(chan func()), outcomes: make(chan []Outcome),
		changed: make(chan struct{}, 1), done: make(chan struct{}),
		groups: map[string]*group{}, types: map[string]*group{}}
	p.startCtx, p.stopStart = context.WithCancel(context.Background())
	p.publish()
	go p.loop()
	return p
}

// ErrClosed is returned by Submit after Close has begun.
var ErrClosed = errors.New("pool is closed")

// Submit hands jobs over. Every one of them has an Outcome later.
func (p *Pool) Submit(jobs []*Job) error {
	select {
	case p.submit <- jobs:
		return nil
	case <-p.done:
		return ErrClosed
	}
}

// Outcomes is where jobs end, in batches. It is closed when the pool is. Somebody must
// receive from it until then.
func (p *Pool) Outcomes() <-chan []Outcome { return p.outcomes }

// Want returns how many more jobs the pool could use now, and a little ahead.
func (p *Pool) Want() int { return int(p.want.Load()) }

// Changed is signalled when Want has changed.
func (p *Pool) Changed() <-chan struct{} { return p.changed }

// SetPlugins says what plugins there are from now on. What is running goes on with the
// process that it has.
func (p *Pool) SetPlugins(plugins []Plugin) {
	select {
	case p.plugins <- plugins:
	case <-p.done:
	}
}

// call runs f in the loop and waits for it.
func (p *Pool) call(f func()) {
	done := make(chan struct{})
	select {
	case p.calls <- func() { defer close(done); f() }:
		<-done
	case <-p.done:
	}
}

// Kill ends a job: one that waits is Returned, one that runs is killed for the reason, and
// has Died. A job that has ended is left alone.
func (p *Pool) Kill(j *Job, reason process.Reason, detail string) { p.end(j, 0, reason, detail) }

// Cancel ends a job like Kill, for process.ReasonCancelled, but one that runs has its
// context cancelled, with the reason, and is killed only if it has not ended after the
// grace. A second Cancel can shorten the grace of the first.
func (p *Pool) Cancel(j *Job, grace time.Duration, reason string) {
	p.end(j, grace, process.ReasonCancelled, reason)
}

func (p *Pool) end(j *Job, grace time.Duration, reason process.Reason, detail string) {
	p.call(func() {
		g := j.group
		if g == nil { // not here yet
			j.doomed, j.reason, j.detail = true, reason, detail
			return
		}
		if i := slices.Index(g.queue, j); i >= 0 {
			g.queue = slices.Delete(slices.Clone(g.queue), i, i+1)
			p.finish(Outcome{Job: j, Kind: Returned})
			return
		}
		for w := range g.busy {
			if w.kill(j, grace, reason, detail) {
				return
			}
		}
		// It has ended, or is on its way back from a process.
		j.doomed, j.reason, j.detail = true, reason, detail
	})
}

// Resize changes how many tasks run at once. What runs beyond it goes on to its end.
func (p *Pool) Resize(workers int) {
	p.call(func() { p.opts.Workers = workers })
}

// Alive proves that the pool works: its loop answers. The error is ctx's, if it has not
// before its end.
func (p *Pool) Alive(ctx context.Context) error {
	select {
	case p.calls <- func() {}:
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("the pool of processes does not answer: %w", ctx.Err())
	}
	return nil
}

// Drain stops handing out jobs: what waits is Returned, also from now on, and what has
// been sent to a process but not begun is called back. Running tasks go on.
func (p *Pool) Drain() {
	p.call(func() {
		p.draining = true
		p.stopStart()
		for _, g := range p.groups {
			p.returnAll(g)
			for w := range g.busy {
				w.recall()
			}
		}
	})
}

// KillAll kills every process for the given reason. Call Drain before it.
func (p *Pool) KillAll(reason process.Reason, detail string) {
	p.call(func() {
		for _, g := range p.groups {
			for w := range g.busy {
				w.proc.Kill(reason, detail)
			}
		}
	})
}

// Close drains the pool, kills what still runs, and waits until all processes are gone and
// all outcomes received.
func (p *Pool) Close() {
	p.Drain()
	p.KillAll(process.ReasonShutdown, "")
	p.call(func() { p.closing = true })
	<-p.done
	p.wg.Wait()
}

func (p *Pool) loop() {
	defer close(p.done)
	defer close(p.outcomes)
	upkeep := time.NewTicker(250 * time.Millisecond)
	defer upkeep.Stop()
	for !p.finished() {
		var out chan<- []Outcome
		if len(p.pending) > 0 {
			out = p.outcomes
		}
		select {
		case jobs := <-p.submit:
			p.accept(jobs)
		case ev := <-p.events:
			p.heard(ev)
			for more := true; more; { // what else has gathered costs one look only
				select {
				case ev := <-p.events:
					p.heard(ev)
				default:
					more = false
				}
			}
		case s := <-p.started:
			p.startEnded(s)
		case plugins := <-p.plugins:
			p.setPlugins(plugins)
		case f := <-p.calls:
			f()
		case out <- p.pending:
			p.pending = nil
		case <-upkeep.C:
			p.upkeep(time.Now())
		}
		p.schedule(time.Now())
		p.publish()
	}
}

// finished reports whether a closing pool has nothing left to wait for.
func (p *Pool) finished() bool {
	if !p.closing || len(p.pending) > 0 {
		return false
	}
	for _, g := range p.groups {
		if len(g.idle) > 0 || len(g.busy) > 0 || g.starting > 0 || len(g.queue) > 0 {
			return false
		}
	}
	return true
}

func (p *Pool) finish(o Outcome) { p.pending = append(p.pending, o) }

func (p *Pool) returnAll(g *group) {
	for _, j := range g.queue {
		p.finish(Outcome{Job: j, Kind: Returned})
	}
	g.queue = nil
}

// accept takes in new jobs.
func (p *Pool) accept(jobs []*Job) {
	for _, j := range jobs {
		g := p.types[j.Task.Type]
		switch {
		case p.draining, j.doomed:
			p.finish(Outcome{Job: j, Kind: Returned})
		case g == nil:
			p.finish(Outcome{Job: j, Kind: Unserved, Reason: fmt.Sprintf("no plugin serves task type %q", j.Task.Type)})
		default:
			j.group = g
			g.queue = append(g.queue, j)
		}
	}
}

// heard takes in what a worker tells.
func (p *Pool) heard(ev event) {
	w, g := ev.worker, ev.worker.group
	for i := range ev.outcomes {
		o := &ev.outcomes[i]
		w.load -= o.Job.cost
		switch {
		case o.Job.Revert: // says nothing of how long a run takes
			w.served++
		case o.Kind == Ended:
			d := max(0, time.Duration(o.Result.GetDuration()))
			if d == 0 || d > o.Duration {
				d = o.Duration
			}
			g.learn(o.Job.Task.Type, d)
			p.typical.add(d)
			w.served++
		default:
			g.learn(o.Job.Task.Type, o.Duration)
			p.typical.add(o.Duration)
		}
	}
	switch {
	case ev.recalled:
		w.slow = true
	case len(ev.outcomes) > 0:
		w.slow = false
	}
	if len(p.pending) == 0 {
		p.pending = ev.outcomes
	} else {
		p.pending = append(p.pending, ev.outcomes...)
	}
	w.held -= len(ev.outcomes) + len(ev.requeue)
	for _, j := range ev.requeue {
		w.load -= j.cost
	}
	if len(ev.requeue) > 0 {
		var again []*Job
		for _, j := range ev.requeue {
			if j.doomed {
				p.finish(Outcome{Job: j, Kind: Returned})
				continue
			}
			again = append(again, j)
		}
		g.queue = append(again, g.queue...)
		if p.draining {
			p.returnAll(g)
		}
	}
	now := time.Now()
	if ev.dead {
		p.workerDied(w, ev, now)
		return
	}
	if w.held == 0 && w.busy {
		w.busy, w.load = false, 0
		delete(g.busy, w)
		g.healthy()
		w.idleSince = now
		g.idle = append(g.idle, w)
		p.retireOutdated(g, now)
	}
}

// workerDied takes a dead process out of the tables, and decides whether its death is the
// plugin's doing.
func (p *Pool) workerDied(w *worker, ev event, now time.Time) {
	g := w.group
	delete(g.busy, w)
	if i := slices.Index(g.idle, w); i >= 0 {
		g.idle = slices.Delete(g.idle, i, i+1)
	}
	w.busy = false
	var died bool
	for _, o := range ev.outcomes {
		died = died || o.Kind == Died
	}
	switch ev.exit.Reason {
	case process.ReasonRetired, process.ReasonShutdown, process.ReasonCancelled, process.ReasonLease:
		return
	}
	if !died && ev.exit.Reason == process.ReasonTimeout {
		return // its task ended at the last moment
	}
	if !died && !p.draining {
		p.pluginFailed(g, w.gen, "outside of any task: "+ev.exit.String(), now)
	}
}

// pluginFailed counts a failure against the plugin and sends its jobs away if it will not
// be back soon.
func (p *Pool) pluginFailed(g *group, gen int, problem string, now time.Time) {
	if gen != g.edition {
		return
	}
	broken := g.failed(now, problem)
	p.opts.Logger.Warn("plugin process failed", "plugin", g.plugin.Name, "problem", problem,
		"failures", len(g.failures), "next_start", g.retryAt.UTC().Format(time.RFC3339Nano))
	if broken && len(g.failures) == brokenAfter && p.opts.OnBroken != nil {
		p.opts.OnBroken(g.plugin.Name, g.plugin.Generation, problem)
	}
	p.sendAway(g, now)
}

// sendAway gives the jobs of a plugin back that has no process and will not have one soon.
func (p *Pool) sendAway(g *group, now time.Time) {
	if len(g.queue) == 0 || g.running()+len(g.idle)+g.starting > 0 || g.retryAt.Sub(now) < parkAfter {
		return
	}
	for _, j := range g.queue {
		p.finish(Outcome{Job: j, Kind: Unserved, Reason: fmt.Sprintf("plugin %q does not come up: %s", g.plugin.Name, g.problem)})
	}
	g.queue = nil
}

// startEnded takes in a process that has come up, or has not.
func (p *Pool) startEnded(s start) {
	g, now := s.group, time.Now()
	g.starting--
	if s.err != nil {
		if !p.draining {
			problem := s.err.Error()
			var se *process.StartError
			if errors.As(s.err, &se) {
				problem = se.Err.Error()
				if out := se.Exit.Output; len(out) > 0 {
					problem += "; its last output: " + out[len(out)-1]
				}
			}
			p.pluginFailed(g, s.gen, problem, now)
		}
		return
	}
	w := newWorker(p, g, s.gen, s.proc)
	w.idleSince = now
	g.idle = append(g.idle, w)
	if p.draining || g.outdated(w, now) != "" {
		p.retire(w)
	}
}

// retire takes an idle worker out of use; its death is heard of like any other.
func (p *Pool) retire(w *worker) {
	g := w.group
	g.idle = slices.DeleteFunc(g.idle, func(x *worker) bool { return x == w })
	g.busy[w] = struct{}{} // until its death is heard of; it takes no worker's place
	w.busy = false
	w.retire()
}

func (p *Pool) retireOutdated(g *group, now time.Time) {
	for _, w := range slices.Clone(g.idle) {
		if why := g.outdated(w, now); why != "" {
			p.opts.Logger.Debug("process retired", "plugin", g.plugin.Name, "pid", w.proc.PID(), "why", why, "tasks", w.served)
			p.retire(w)
		}
	}
}

// setPlugins takes in what plugins there are.
func (p *Pool) setPlugins(plugins []Plugin) {
	now := time.Now()
	types := map[string]*group{}
	seen := map[string]bool{}
	for _, pl := range plugins {
		seen[pl.Name] = true
		g := p.groups[pl.Name]
		if g == nil {
			g = newGroup(pl)
			p.groups[pl.Name] = g
			p.order = append(p.order, g)
		}
		if g.plugin.Generation != pl.Generation || g.plugin.Revision != pl.Revision {
			g.healthy()
			g.edition++
		}
		g.plugin, g.removed = pl, false
		for _, t := range pl.Types {
			types[t] = g
		}
	}
	p.types = types
	for name, g := range p.groups {
		g.removed = !seen[name]
		// Whoever waits for a plugin that is gone, or serves its type no more, is told so.
		queue := g.queue
		g.queue = nil
		p.accept(queue)
		p.retireOutdated(g, now)
	}
}

// upkeep looks after what time alone brings.
func (p *Pool) upkeep(now time.Time) {
	for _, g := range p.groups {
		p.retireOutdated(g, now)
		for _, w := range g.idle {
			w.endIfDeaf(now)
		}
		for len(g.idle) > g.plugin.Spares && now.Sub(g.idle[0].idleSince) > idleKeep {
			p.retire(g.idle[0])
		}
	}
	p.order = slices.DeleteFunc(p.order, func(g *group) bool {
		gone := g.removed && len(g.idle)+len(g.busy)+g.starting+len(g.queue) == 0
		if gone {
			delete(p.groups, g.plugin.Name)
		}
		return gone
	})
}
