package pool

import (
	"time"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

// Job is one attempt at a task. It belongs to the pool from Submit until its Outcome.
type Job struct {
	Task    task.Task
	Attempt int
	// Limit is the most time it may run in its process; 0 is none.
	Limit time.Duration
	// Revert says that the task is not run: its plugin says which task would undo it.
	Revert bool
	// Tag is the submitter's own; the pool does not look at it.
	Tag any

	group    *group
	cost     time.Duration // its share of a window's budget
	seq      uint64        // number of the job among those sent to its process, from 1
	sent     time.Time
	requeues int  // times it was taken from a dead process without being charged
	soft     bool // it has been told that its time is nearly up
	told     bool // the observer has been told that it runs
	doomed   bool // to be killed as soon as it runs, or Returned if it does not
	reason   process.Reason
	detail   string
	cancelAt time.Time // when it is killed because it was cancelled; zero: it was not
	dump     string    // stacks that the plugin sent at the soft limit
}

// Kind says what came of a job.
type Kind int

const (
	// Ended: the task ran and its plugin sent a result.
	Ended Kind = iota + 1
	// Died: the task's process died, or was killed, while the task ran. Exit says how.
	Died
	// Returned: the task has not run; the pool is draining.
	Returned
	// Unserved: the task has not run; no plugin serves its type now. Reason says why.
	Unserved
)

// Outcome is the end of a job. Of every submitted job there is exactly one.
type Outcome struct {
	Job  *Job
	Kind Kind
	// Plugin and PID name the process that ran it; Started and Duration are the host's
	// own account of its run (Ended and Died only).
	Plugin   string
	PID      int
	Started  time.Time
	Duration time.Duration
	// Result is what the plugin said, checked as far as the protocol goes (Ended).
	Result *pluginpb.Result
	// Exit is the end of the process (Died).
	Exit process.Exit
	// Dump holds the stacks of the process shortly before a kill at the time limit.
	Dump string
	// Reason says why nobody serves the task's type (Unserved).
	Reason string
}

// Observer hears what tasks say while they run. Its methods are called by many goroutines
// and must not block; job is nil for what belongs to no running task.
type Observer interface {
	// Running tells, once, of a job that has been running for announceAfter.
	Running(job *Job, plugin string, pid int, started time.Time)
	// Logs reports whether lines of that level are logged at all.
	Logs(level int32) bool
	Log(plugin string, pid int, job *Job, l *pluginpb.Log)
	State(job *Job, s *pluginpb.State)
	Progress(job *Job, p *pluginpb.Progress)
	// Push asks for a new task to be queued; reply must be called once, at any time, and
	// does not block.
	Push(job *Job, p *pluginpb.Push, reply func(*pluginpb.PushReply))
}

// ReportObserver is an Observer that hears what tasks tell the error reporters, too.
type ReportObserver interface {
	Report(job *Job, plugin string, pid int, r *pluginpb.Report)
}
