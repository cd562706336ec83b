package pool

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/lograte"
	"github.com/backplane/leptir/internal/pluginpb"
)

const (
	// softShare says how long before its time limit a task is told that it is near: a
	// tenth of the limit, and no longer than the plugin's KillGrace.
	softShare = 10
	// abortShare and abortMost say how long before its time limit a process is aborted (by
	// SIGQUIT) that has not answered: it cannot be asked for its stacks in any other way, and
	// must be dead at the limit. abortLeast is the shortest limit with time for that.
	abortShare = 20
	abortMost  = 250 * time.Millisecond
	abortLeast = 500 * time.Millisecond
	// retireGrace is how long a process may take to end when it is told to.
	retireGrace = 5 * time.Second
	// announceAfter is how long a task runs before it is worth telling that it does: most
	// have ended by then.
	announceAfter = 50 * time.Millisecond
	// beginGrace is how long a plugin that keeps its mark may take to begin a task that
	// it has been sent and that is first in line.
	beginGrace = 10 * time.Second
	// resultGrace is how long the result of a task may be under way that has ended, by
	// the mark.
	resultGrace = time.Second
	// lostGrace is how long a process may live on that has closed its stream unasked.
	lostGrace = 500 * time.Millisecond
	// repliesMost is how many answers to pushes may wait for a process to read them. Answers
	// wait in the stream, too, and a message may carry thousands of pushes.
	repliesMost = 100_000
	// requeueMost bounds how often a task is taken from a dead process uncharged, since
	// what is known of the process is its own word.
	requeueMost = 3
	// maxDump bounds the stacks that are kept of a process.
	maxDump = 256 << 10
)

// recallGrace is how long a process may take to answer a recall, whatever it runs. Tests
// set it.
var recallGrace = 10 * time.Second

// worker is one process and the tasks that it has been handed. Three goroutines serve it:
// one sends, one receives, and a timer watches the head of its window and kills the process
// when the head's time is up, whatever anybody else is doing.
type worker struct {
	pool  *Pool
	group *group
	gen   int
	proc  *process.Process

	plugin string        // its name
	grace  time.Duration // its KillGrace

	outbox chan *pluginpb.HostMessage
	quit   chan struct{} // closed once the process's end has been dealt with

	answers chan struct{} // signalled when there are replies

	logRate lograte.Limiter // of the receiving goroutine

	mu         sync.Mutex
	window     []*Job // sent, without a result; the first one runs
	headSince  time.Time
	timer      *time.Timer
	sentCount  uint64
	recalled   bool // asked to give back what is not begun; no answer yet
	recalledAt time.Time
	retiring   bool
	aim        *Job                  // whom the process was killed for, if for one of its tasks
	aborted    bool                  // told to write down its stacks and die: no other task may join it
	replies    []*pluginpb.PushReply // to pushes, not sent yet
	dead       bool                  // its window has been dealt with: nothing may join it any more

	// The pool's loop owns what follows.
	busy      bool
	held      int           // jobs assigned and not heard of again
	load      time.Duration // their cost
	slow      bool          // what waited behind its head has been called back
	called    bool          // that has been asked for, so that the worker comes free for another plugin
	served    int
	idleSince time.Time
	rssSeen   time.Time
}

// event is what a worker tells the pool's loop.
type event struct {
	worker   *worker
	outcomes []Outcome
	requeue  []*Job // to be run by another process, in this order, ahead of all others
	recalled bool   // the answer to a recall has come: the worker can be used again
	dead     bool
	exit     process.Exit
}

func newWorker(p *Pool, g *group, gen int, proc *process.Process) *worker {
	// The outbox holds a whole window of single sends, and the control messages that can
	// come on top, so that a send to it never blocks.
	w := &worker{pool: p, group: g, gen: gen, proc: proc, plugin: g.plugin.Name, grace: g.plugin.KillGrace,
		outbox: make(chan *pluginpb.HostMessage, windowMax+64), quit: make(chan struct{}), answers: make(chan struct{}, 1)}
	w.timer = time.AfterFunc(time.Hour, w.watch)
	w.timer.Stop()
	p.wg.Go(w.sendLoop)
	p.wg.Go(w.receiveLoop)
	return w
}

// assign hands jobs to the process. It refuses while a recall is under way: what comes back
// then could not be told from what has just been sent. It refuses for a dead process, too,
// of whose death the pool is about to hear.
func (w *worker) assign(jobs []*Job) bool {
	m := &pluginpb.HostMessage{Tasks: make([]*pluginpb.Task, len(jobs))}
	now := time.Now()
	w.mu.Lock()
	if w.recalled || w.dead || w.aborted {
		w.mu.Unlock()
		return false
	}
	for i, j := range jobs {
		w.sentCount++
		j.seq, j.sent, j.soft, j.told = w.sentCount, now, false, false
		m.Tasks[i] = j.message(w.grace)
	}
	first := len(w.window) == 0
	w.window = append(w.window, jobs...)
	if first {
		w.headSince = now
	}
	w.arm(now)
	w.mu.Unlock()
	w.post(m)
	return true
}

func (j *Job) message(grace time.Duration) *pluginpb.Task {
	t := &pluginpb.Task{Id: string(j.Task.ID), Type: j.Task.Type, Params: j.Task.Params,
		TimeLimit: int64(j.Limit), Attempt: int32(j.Attempt), Priority: int32(j.Task.Priority), Revert: j.Revert}
	if j.Limit > 0 {
		t.SoftLimit = int64(j.softLimit(grace))
	}
	return t
}

func (j *Job) softLimit(grace time.Duration) time.Duration {
	return j.Limit - min(j.Limit/softShare, grace)
}

// post queues a message for the plugin. The outbox is sized so that this does not block;
// if it is full all the same, the plugin has not read for long and the message is a
// reminder that it has been sent already.
func (w *worker) post(m *pluginpb.HostMessage) {
	select {
	case w.outbox <- m:
	default:
		w.proc.Kill(process.ReasonProtocol, "it does not read what it is sent")
	}
}

// answer queues the answer to a push. It does not block. A plugin that only pushes and does not
// read is ended before its answers fill the host's memory.
func (w *worker) answer(r *pluginpb.PushReply) {
	w.mu.Lock()
	full := len(w.replies) >= repliesMost
	if !full {
		w.replies = append(w.replies, r)
	}
	w.mu.Unlock()
	if full {
		w.proc.Kill(process.ReasonProtocol, "it does not read the answers to its pushes")
		return
	}
	select {
	case w.answers <- struct{}{}:
	default:
	}
}

func (w *worker) sendLoop() {
	for {
		select {
		case <-w.answers:
			w.mu.Lock()
			m := &pluginpb.HostMessage{PushReplies: w.replies}
			w.replies = nil
			w.mu.Unlock()
			if w.proc.Send(m) != nil {
				return
			}
		case m := <-w.outbox:
			if m == nil { // see retire
				w.proc.Retire(retireGrace)
				return
			}
			if w.proc.Send(m) != nil {
				return // the receiving side learns why
			}
		case <-w.quit:
			return
		}
	}
}

// arm sets the timer to the next thing to look at. w.mu is held.
func (w *worker) arm(now time.Time) {
	if len(w.window) == 0 {
		w.timer.Stop()
		return
	}
	head := w.window[0]
	next := time.Duration(1<<63 - 1)
	if head.Limit > 0 {
		at := head.Limit
		if !head.soft {
			at = head.softLimit(w.grace)
		} else if w.dumpless(head) {
			at = head.abortAt(w.grace)
		}
		next = at
	}
	if len(w.window) > 1 && !w.recalled {
		next = min(next, recallAfter)
	}
	if !head.told {
		next = min(next, announceAfter)
	}
	if !head.cancelAt.IsZero() {
		next = min(next, head.cancelAt.Sub(w.headSince))
	}
	if next == 1<<63-1 {
		w.timer.Stop()
		return
	}
	// What is overdue waits for something else (a task to begin, say): look again soon.
	w.timer.Reset(max(2*time.Millisecond, next-now.Sub(w.headSince)))
}

// dumpless reports whether the process should be made to write down its stacks: it has not
// sent them when it was asked to. w.mu is held.
func (w *worker) dumpless(head *Job) bool {
	return w.grace > 0 && head.Limit >= abortLeast && head.dump == "" && !w.aborted
}

// abortAt returns how long after its start a process is aborted that has not sent its stacks.
func (j *Job) abortAt(grace time.Duration) time.Duration {
	return j.Limit - min(j.Limit/abortShare, abortMost, grace)
}

// watch is the timer's function: it looks after the head of the window.
func (w *worker) watch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.retiring {
		w.proc.Kill(process.ReasonRetired, "")
		return
	}
	if len(w.window) == 0 {
		return
	}
	now := time.Now()
	head := w.window[0]
	ran := now.Sub(w.headSince)
	progress := w.proc.Progress()
	slow := recallAfter
	if head.over(progress) {
		slow = resultGrace
	}
	if ran >= slow {
		w.recallLocked()
	}
	if !head.cancelAt.IsZero() && !now.Before(head.cancelAt) {
		w.killFor(head, head.reason, head.detail)
		return
	}
	if !head.told && ran >= announceAfter && (!progress.Kept || progress.Begun >= head.seq) {
		head.told = true
		w.pool.observer.Running(head, w.plugin, w.proc.PID(), w.headSince)
	}
	if head.Limit > 0 && ran >= head.softLimit(w.grace) {
		switch {
		case progress.Kept && progress.Begun < head.seq && now.Sub(head.sent) < beginGrace:
			// The limit runs from the task's start, and it has not started.
			w.headSince = now
		case progress.Kept && progress.Begun < head.seq:
			w.proc.Kill(process.ReasonProtocol, fmt.Sprintf("it did not begin task %s within %v", head.Task.ID, beginGrace))
			return
		case head.over(progress) && ran < head.Limit+resultGrace:
			// It has made it; its result is on its way.
			w.timer.Reset(10 * time.Millisecond)
			return
		case ran >= head.Limit:
			w.killFor(head, process.ReasonTimeout, "limit "+head.Limit.String())
			return
		case !head.soft:
			head.soft = true
			w.post(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: string(head.Task.ID),
				Reason: "time limit of " + head.Limit.String() + " is about to be reached", Dump: true, TimeLimit: true}})
		case w.dumpless(head) && ran >= head.abortAt(w.grace):
			w.aborted, w.aim = true, head
			w.proc.Abort(process.ReasonTimeout, "limit "+head.Limit.String())
		}
	}
	w.arm(now)
}

// kill ends the process if the job is the one that it runs. One that waits behind others,
// who are not to suffer for it, is called back, and killed if it comes to run all the same.
// With a grace the running job is told first, and killed when the grace is over.
// It reports whether the job is in this worker's window.
func (w *worker) kill(j *Job, grace time.Duration, reason process.Reason, detail string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.window, j)
	if i < 0 {
		return false
	}
	j.reason, j.detail = reason, detail
	now := time.Now()
	p := w.proc.Progress()
	if j.over(p) {
		j.doomed = true
		w.awaitResult(j, now)
		return true
	}
	if i > 0 && !(p.Kept && p.Begun == j.seq) {
		j.doomed = true
		w.recallLocked()
		return true
	}
	if grace <= 0 {
		j.doomed = true // should it not have begun, another process is not to run it either
		w.killFor(j, reason, detail)
		return true
	}
	if at := now.Add(grace); j.cancelAt.IsZero() || at.Before(j.cancelAt) {
		j.cancelAt = at
	}
	w.post(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: string(j.Task.ID), Reason: detail}})
	w.arm(now)
	return true
}

// awaitResult has the process killed for a job that is over, but only if no result comes.
// w.mu is held.
func (w *worker) awaitResult(j *Job, now time.Time) {
	j.cancelAt = now.Add(resultGrace)
	w.arm(now)
}

// killFor ends the process for what one of its jobs does. w.mu is held.
func (w *worker) killFor(j *Job, reason process.Reason, detail string) {
	if w.aim == nil {
		w.aim = j
	}
	w.proc.Kill(reason, detail)
}

// endDoomed kills the process if the head of its window is not to run. w.mu is held.
func (w *worker) endDoomed(now time.Time) {
	if len(w.window) == 0 || !w.window[0].doomed {
		return
	}
	head := w.window[0]
	if head.over(w.proc.Progress()) {
		w.awaitResult(head, now)
		return
	}
	w.killFor(head, head.reason, head.detail)
}

// recall asks for everything back that is not begun.
func (w *worker) recall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recallLocked()
}

func (w *worker) recallLocked() {
	if len(w.window) > 1 && !w.recalled {
		w.recalled, w.recalledAt = true, time.Now()
		w.post(&pluginpb.HostMessage{Recall: true})
	}
}

// endIfDeaf kills the process if it has left a recall unanswered for long: no job can be
// handed to it, and those that were called back may be lost in it.
func (w *worker) endIfDeaf(now time.Time) {
	w.mu.Lock()
	deaf := w.recalled && now.Sub(w.recalledAt) > recallGrace
	w.mu.Unlock()
	if deaf {
		w.proc.Kill(process.ReasonProtocol, fmt.Sprintf("it has not answered a recall within %v", recallGrace))
	}
}

// retire lets the idle process end, and kills it if it does not. What is still to be sent to
// it goes first; gRPC forbids to close a stream while somebody sends on it.
func (w *worker) retire() {
	w.mu.Lock()
	w.retiring = true
	w.timer.Reset(2 * retireGrace)
	w.mu.Unlock()
	w.post(nil)
}

// end deals with the end of the stream: it waits for the process to be dead, then settles
// who is to blame.
func (w *worker) end() {
	w.mu.Lock()
	retiring := w.retiring
	w.mu.Unlock()
	if !retiring {
		grace := time.NewTimer(lostGrace)
		defer grace.Stop()
		select {
		case <-w.proc.Done():
		case <-grace.C:
			w.proc.Kill(process.ReasonLost, "")
		}
	}
	<-w.proc.Done() // killed, or about to be by Retire's grace
	w.timer.Stop()
	close(w.quit)

	now := time.Now()
	w.tellSuppressed(now)
	ev := event{worker: w, dead: true, exit: w.proc.Exit()}
	progress := w.proc.Progress()
	w.mu.Lock()
	w.takeKept(&ev, now)
	window, since, aim := w.window, w.headSince, w.aim
	w.window, w.dead = nil, true
	w.mu.Unlock()
	switch ev.exit.Reason {
	case process.ReasonTimeout, process.ReasonCancelled, process.ReasonLease:
	default:
		aim = nil // it died of something else before
	}
	for i, j := range window {
		if j.charged(i == 0, aim, progress, ev.exit) {
			ev.outcomes = append(ev.outcomes, Outcome{Job: j, Kind: Died, Plugin: w.plugin, PID: w.proc.PID(),
				Started: since, Duration: now.Sub(since), Exit: ev.exit, Dump: cmp.Or(j.dump, ev.exit.Dump)})
			continue
		}
		ev.requeue = append(ev.requeue, j)
	}
	w.pool.events <- ev
}
