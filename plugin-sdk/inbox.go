package sdk

import (
	"fmt"
	"sync"

	"github.com/backplane/leptir/internal/pluginpb"
)

// inbox holds the tasks that wait to run, in the order of their arrival, and knows the one
// that runs.
type inbox struct {
	mark *mark // of the process; nil if there is none

	mu        sync.Mutex
	more      sync.Cond
	waiting   []*pluginpb.Task // from head on
	head      int
	closed    bool
	busy      bool             // a task runs
	running   *BaseTask        // the one that does, if its type is known
	cancelled map[string]error // tasks that were cancelled while they waited
}

func newInbox() *inbox {
	in := &inbox{}
	in.more.L = &in.mu
	return in
}

// put adds tasks.
func (in *inbox) put(tasks []*pluginpb.Task) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return
	}
	in.waiting = append(in.waiting, tasks...)
	in.more.Signal()
}

// close says that no task follows.
func (in *inbox) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	in.more.Signal()
}

// abandon drops the waiting tasks and cancels the running one.
func (in *inbox) abandon(cause error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.waiting, in.head = nil, 0
	in.closed = true
	in.more.Signal()
	if in.running != nil {
		in.running.ctx.finish(cause)
	}
}

// recall takes the tasks back that have not begun, and returns their ids.
func (in *inbox) recall() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	ids := make([]string, 0, len(in.waiting)-in.head)
	for _, t := range in.waiting[in.head:] {
		ids = append(ids, t.Id)
		delete(in.cancelled, t.Id)
	}
	in.waiting, in.head = nil, 0
	return ids
}

// next waits for the next task, starts it by begin, which returns nil for one that cannot
// be, and from now on takes it for the running one. It returns false when no more come.
// The error is set if the task was cancelled while it waited.
func (in *inbox) next(begin func(*pluginpb.Task) *BaseTask) (*pluginpb.Task, error, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.running, in.busy = nil, false
	for in.head == len(in.waiting) {
		in.waiting, in.head = in.waiting[:0], 0
		if in.closed {
			return nil, nil, false
		}
		in.more.Wait()
	}
	t := in.waiting[in.head]
	in.waiting[in.head] = nil
	in.head++
	in.busy = true
	in.mark.begun()
	in.running = begin(t)
	var cause error
	if len(in.cancelled) > 0 {
		cause = in.cancelled[t.Id]
		delete(in.cancelled, t.Id)
	}
	return t, cause, true
}

// cancel ends the context of a task, or keeps a waiting one from starting. Of a task that
// is not here (it has ended) nothing happens.
func (in *inbox) cancel(id, reason string) {
	cause := ErrCancelled
	if reason != "" {
		cause = fmt.Errorf("%w: %s", ErrCancelled, reason)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.running != nil && in.running.ID() == id {
		in.running.ctx.finish(cause)
		return
	}
	for _, t := range in.waiting[in.head:] {
		if t.Id == id {
			if in.cancelled == nil {
				in.cancelled = map[string]error{}
			}
			in.cancelled[id] = cause
			return
		}
	}
}

// rest says that the running task has come to its end: what is left is to send its result. It
// returns how many tasks wait.
func (in *inbox) rest() (waiting int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.busy = false
	return len(in.waiting) - in.head
}

// idle reports whether no task runs or waits.
func (in *inbox) idle() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return !in.busy && in.head == len(in.waiting)
}
