package pool

import (
	"math/rand/v2"
	"time"

	"github.com/backplane/leptir/host/process"
)

const (
	// A plugin whose processes fail outside of any task is started again after a backoff
	// that doubles from backoffFirst to backoffMost; after brokenAfter failures within
	// brokenWithin it counts as broken, and is tried once every brokenRetry.
	backoffFirst = 250 * time.Millisecond
	backoffMost  = 30 * time.Second
	brokenAfter  = 5
	brokenWithin = time.Minute
	brokenRetry  = time.Minute
	// parkAfter is the longest backoff for which tasks wait in the host; for a longer
	// one they go back to their queue.
	parkAfter = 600 * time.Millisecond
	// idleKeep is how long a process beyond the wanted spares is kept without work.
	idleKeep = time.Minute
)

// Plugin says what processes to start for one plugin, and how to use them.
type Plugin struct {
	Name string
	// Generation rises with each new binary, Revision with each configuration that needs
	// other processes; those of an older one end after what they are running.
	Generation int
	Revision   int
	Types      []string
	Spec       process.Spec
	// Fresh gives each task a new process.
	Fresh bool
	// MaxTasks, MaxAge and MemoryMax (bytes) say when an idle process is replaced; 0 is
	// never.
	MaxTasks  int
	MaxAge    time.Duration
	MemoryMax int64
	// Spares is how many idle processes are kept ready.
	Spares int
	// MaxProcesses bounds the processes of this plugin that run tasks or start; 0 means
	// the number of workers.
	MaxProcesses int
	// KillGrace is how long before its time limit a task is told that it is near, so that
	// it can end by itself; at most a tenth of the limit.
	KillGrace time.Duration
}

// group is the processes of one plugin and the jobs that wait for one. The pool's loop
// owns it.
type group struct {
	plugin    Plugin
	edition   int // of the plugin: rises with its generation and its revision
	queue     []*Job
	idle      []*worker // last in, first out: the others may be swapped out or retired
	busy      map[*worker]struct{}
	starting  int
	estimates map[string]*estimate
	removed   bool // not in the plugin folder any more
	waits     bool // has jobs that another worker could run
	refused   bool // its idle processes cannot take a job just now
	turn      int  // when it was last given a worker, in the pool's turns

	failures []time.Time // of late, oldest first
	backoff  time.Duration
	retryAt  time.Time // no start before
	problem  string    // the last failure, for people
}

func newGroup(p Plugin) *group {
	return &group{plugin: p, busy: map[*worker]struct{}{}, estimates: map[string]*estimate{}}
}

func (g *group) estimate(taskType string) *estimate { return g.estimates[taskType] }

// learn takes in what a task has needed.
func (g *group) learn(taskType string, d time.Duration) {
	e := g.estimates[taskType]
	if e == nil {
		e = &estimate{}
		g.estimates[taskType] = e
	}
	e.add(d)
}

// next takes jobs from the queue that fit into a window whose tasks need load already.
func (g *group) next(load time.Duration, held, most int) (jobs []*Job, cost time.Duration) {
	if g.plugin.Fresh {
		most = min(most, 1)
	}
	size := 0
	for len(jobs) < most && len(jobs) < len(g.queue) && held+len(jobs) < windowMax && size < windowBytes {
		c := g.estimate(g.queue[len(jobs)].Task.Type).cost()
		if g.queue[len(jobs)].requeues > 0 {
			c = windowBudget // alone, so that it loses no result to another's crash again
		}
		if held+len(jobs) > 0 && load+cost+c > windowBudget {
			break
		}
		cost += c
		g.queue[len(jobs)].cost = c
		size += len(g.queue[len(jobs)].Task.Params)
		jobs = append(jobs, g.queue[len(jobs)])
	}
	if len(jobs) == len(g.queue) {
		g.queue = nil
	} else {
		g.queue = g.queue[len(jobs):]
	}
	return jobs, cost
}

// failed counts a failure that no task is to blame for, and reports whether the plugin is
// broken by now.
func (g *group) failed(now time.Time, problem string) (broken bool) {
	g.problem = problem
	g.failures = append(g.failures, now)
	for len(g.failures) > 0 && now.Sub(g.failures[0]) > brokenWithin {
		g.failures = g.failures[1:]
	}
	g.backoff = min(backoffMost, max(backoffFirst, 2*g.backoff))
	wait := g.backoff
	if len(g.failures) >= brokenAfter {
		wait, broken = brokenRetry, true
	}
	// Jitter, so that many hosts do not try all at once.
	g.retryAt = now.Add(wait - time.Duration(rand.Int64N(int64(wait/4)+1)))
	return broken
}

// healthy forgets the failures: a process has come up and done a task.
func (g *group) healthy() {
	g.failures, g.backoff, g.retryAt, g.problem = nil, 0, time.Time{}, ""
}

// limit is the most processes that may run tasks or start at once.
func (g *group) limit(workers int) int {
	if g.plugin.MaxProcesses > 0 {
		return min(workers, g.plugin.MaxProcesses)
	}
	return workers
}

// outdated reports why an idle worker should not be used again, or "".
func (g *group) outdated(w *worker, now time.Time) string {
	p := g.plugin
	switch {
	case g.removed:
		return "plugin removed"
	case w.gen != g.edition:
		return "new generation"
	case p.Fresh && w.served > 0:
		return "fresh isolation"
	case p.MaxTasks > 0 && w.served >= p.MaxTasks:
		return "max_tasks"
	case p.MaxAge > 0 && now.Sub(w.proc.Started()) >= p.MaxAge && (w.served > 0 || now.Sub(w.idleSince) > time.Second):
		return "max_age"
	case w.proc.OutputSpent():
		return "output_max"
	case p.MemoryMax > 0 && w.served > 0 && now.Sub(w.rssSeen) > 100*time.Millisecond:
		w.rssSeen = now
		if w.proc.RSS() > p.MemoryMax {
			return "memory_max"
		}
	}
	return ""
}
