package sdk

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/backplane/leptir/internal/pluginpb"
)

// ReturnCode is how a task ended.
type ReturnCode int

// The return codes. A task that returns any other number ends as Unknown.
const (
	Success           ReturnCode = 1
	Warning           ReturnCode = 2 // done, but somebody should have a look
	Error             ReturnCode = 3 // not done; tried again after the host's policy
	Unknown           ReturnCode = 4
	TimeLimitExceeded ReturnCode = 5 // as a rule set by the host
)

// String returns the code in words, for people.
func (c ReturnCode) String() string {
	switch c {
	case Success:
		return "success"
	case Warning:
		return "warning"
	case Error:
		return "error"
	case Unknown:
		return "unknown"
	case TimeLimitExceeded:
		return "time limit exceeded"
	}
	return fmt.Sprintf("return code %d", int(c))
}

// A Task is what an author writes: a struct with BaseTask embedded and a DoJob. Each task
// that the host sends gets a new one.
type Task interface {
	// DoJob does the work. An error (or a panic) makes the return code Error and its
	// text a response line; otherwise the code counts. ctx ends when the host cancels the
	// task and when its time limit is near; a task that goes on is killed soon after.
	DoJob(ctx context.Context) (ReturnCode, error)

	base() *BaseTask
}

// A BeforeStarter is a Task with something to do before DoJob. When BeforeStart fails,
// DoJob is left out and the task has failed.
type BeforeStarter interface {
	BeforeStart(ctx context.Context) error
}

// An AfterFinisher is a Task with something to do after DoJob, also when that failed or
// was left out. A failure of AfterFinish is reported and does not change how the task
// ended.
type AfterFinisher interface {
	AfterFinish(ctx context.Context) error
}

// A MetaInfoer is a Task with something to add to its record: key/values fit for JSON,
// which override the record's own on a collision. It is asked last, also when the task
// failed. What cannot be JSON is left out and reported; it fails no task.
type MetaInfoer interface {
	GetAdditionalMetaInfo() map[string]any
}

// A Reverter is a Task that can be undone. Revert does not undo it: it returns the task
// that would, or nil where there is nothing to undo. It is asked of the very task that
// has just failed, and later, at an operator's wish, of a new one that was given the same
// parameters and did not run.
type Reverter interface {
	Revert(ctx context.Context) (*NewTask, error)
}

// BaseTask is embedded by every task and gives it its helpers. They are safe for
// concurrent use; what a goroutine does with them after its task has ended has no effect
// (its log lines become the plugin's). The zero BaseTask works on its own, as in a unit
// test that calls a task's methods by hand; Try runs a task as a host would.
//
// A BaseTask must not be copied.
type BaseTask struct {
	mu  sync.Mutex
	msg *pluginpb.Task // what the host sent; nil in a zero BaseTask
	out *outbox        // to the host; nil in a zero BaseTask
	ctx taskContext

	params   params
	started  time.Time
	duration time.Duration // total, once finished
	finished bool          // DoJob is over: the execution time stands still
	ended    bool          // the result is on its way: nothing of the task may follow

	response      []string
	responseBytes int
	responseCut   bool
	states        []int32
	lastState     int
	hasState      bool
	result        []byte
}

func (t *BaseTask) base() *BaseTask { return t }

// ID returns the task's unique id; empty in a zero BaseTask.
func (t *BaseTask) ID() string { return t.msg.GetId() }

// Type returns the task's type, for example "mailer.send".
func (t *BaseTask) Type() string { return t.msg.GetType() }

// Attempt returns the number of this attempt at the task, from 1.
func (t *BaseTask) Attempt() int { return max(1, int(t.msg.GetAttempt())) }

// Priority returns the priority that the task was pushed with; lower is more urgent.
func (t *BaseTask) Priority() int { return int(t.msg.GetPriority()) }

// TimeLimit returns the most time the task may run, 0 where there is no limit. The
// context's deadline is a little earlier.
func (t *BaseTask) TimeLimit() time.Duration { return time.Duration(t.msg.GetTimeLimit()) }

// TraceParent returns the W3C trace context that the task runs in, empty where the host
// does not trace.
func (t *BaseTask) TraceParent() string { return t.msg.GetTraceparent() }

// AddResponseLine adds a line to the task's response, which the host joins to the "respM"
// of the task's record. Together they may take MaxResponseBytes; what is more is cut.
func (t *BaseTask) AddResponseLine(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addResponseLine(line)
}

// addResponseLine is AddResponseLine with the lock held.
func (t *BaseTask) addResponseLine(line string) {
	if t.ended || t.responseCut {
		return
	}
	if room := MaxResponseBytes - t.responseBytes; len(line)+1 > room {
		t.responseCut = true
		line = text(line, max(0, room-1))
		if room <= 1 {
			line = fmt.Sprintf("… (cut at %d bytes)", MaxResponseBytes)
		}
	}
	line = text(line, MaxResponseBytes)
	t.responseBytes += len(line) + 1
	t.response = append(t.response, line)
}

// GetExecutionTime returns how long the task has been running, in seconds, and after
// DoJob (in AfterFinish and GetAdditionalMetaInfo) how long it ran.
func (t *BaseTask) GetExecutionTime() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.finished:
		return t.duration.Seconds()
	case t.started.IsZero():
		return 0
	}
	return time.Since(t.started).Seconds()
}

// finish stops the task's clock.
func (t *BaseTask) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.finished {
		t.finished = true
		t.duration = time.Since(t.started)
	}
}
