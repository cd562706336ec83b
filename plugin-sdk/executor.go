package sdk

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/backplane/leptir/internal/pluginpb"
)

// executor runs the tasks of an inbox one after the other and puts their events and
// results into an outbox. All tasks run on one goroutine; only a task that ends that
// goroutine makes it go on in another.
type executor struct {
	types  map[string]*TaskType
	in     *inbox
	out    *outbox
	parent context.Context // of all tasks
	done   chan struct{}   // closed at the end
	job    job             // the task under way
}

// job is a task under way, as far as only the executor knows it.
type job struct {
	msg  *pluginpb.Task
	task Task
	base *BaseTask

	phase   phase
	refused bool // it did not start
	code    ReturnCode
	failure *pluginpb.Failure
	also    []*pluginpb.Failure
	meta    []byte
	undo    *pluginpb.Task
}

// phase is where a job stands. The phases follow each other in this order, whatever the
// author's methods do.
type phase int

const (
	waiting phase = iota // no task
	beforeStart
	doJob
	afterFinish
	metaInfo
	revert
	over
)

func (p phase) String() string {
	return [...]string{"waiting", "before start", "do job", "after finish", "additional meta info", "revert", "over"}[p]
}

func newExecutor(parent context.Context, types []TaskType, in *inbox, out *outbox) *executor {
	x := &executor{types: make(map[string]*TaskType, len(types)), in: in, out: out, parent: parent, done: make(chan struct{})}
	for i := range types {
		x.types[types[i].name] = &types[i]
	}
	return x
}

// loop runs tasks until the inbox ends.
func (x *executor) loop() {
	ended := false
	defer func() {
		if !ended {
			go x.loop() // a task has ended this goroutine
		}
	}()
	begin := x.begin
	for {
		if x.job.phase == waiting && !x.take(begin) {
			break
		}
		for x.job.phase != over {
			x.advance()
		}
		x.send()
	}
	ended = true
	close(x.done)
}

// begin makes the task that msg asks for; nil if the plugin has no such type.
func (x *executor) begin(msg *pluginpb.Task) *BaseTask {
	x.job = job{msg: msg}
	typ := x.types[msg.Type]
	if typ == nil {
		return nil
	}
	x.job.task = typ.make()
	b := x.job.task.base()
	x.job.base = b
	b.msg, b.out = msg, x.out
	b.ctx.task, b.ctx.parent = b, x.parent
	b.started = time.Now()
	if msg.SoftLimit > 0 {
		b.ctx.deadline = b.started.Add(time.Duration(msg.SoftLimit))
	}
	return b
}

// take waits for the next task; false at the end.
func (x *executor) take(begin func(*pluginpb.Task) *BaseTask) bool {
	x.out.waitForRoom()
	msg, cancelled, ok := x.in.next(begin)
	if !ok {
		return false
	}
	switch {
	case x.job.base == nil:
		x.refuse(&pluginpb.Failure{Kind: kindInput, Message: fmt.Sprintf("this plugin has no task type %q", msg.Type)})
	case cancelled != nil:
		x.job.base.ctx.finish(cancelled)
		x.refuse(&pluginpb.Failure{Kind: kindError, Message: text(fmt.Sprintf("not started: %v", cancelled), MaxFailureBytes)})
	case msg.Revert:
		x.job.phase = metaInfo // only revert follows
	default:
		x.job.phase = waiting
	}
	return true
}

// refuse ends a task that does not start.
func (x *executor) refuse(f *pluginpb.Failure) {
	x.job.failure, x.job.refused = f, true
	x.job.phase = over
}

// advance runs the phases of the job up to the end, or to one that panics or ends the
// goroutine; it is to be called again until the job is over.
func (x *executor) advance() {
	defer x.caught()
	j := &x.job
	ctx := &j.base.ctx
	for j.phase != over {
		j.phase++
		switch j.phase {
		case beforeStart:
			if t, ok := j.task.(BeforeStarter); ok {
				x.note(t.BeforeStart(ctx))
			}
		case doJob:
			if j.failure == nil {
				code, err := j.task.DoJob(ctx)
				if err != nil {
					code = Error
				}
				j.code = code
				x.note(err)
			}
		case afterFinish:
			j.base.finish()
			if t, ok := j.task.(AfterFinisher); ok {
				x.note(t.AfterFinish(ctx))
			}
		case metaInfo:
			if t, ok := j.task.(MetaInfoer); ok {
				var problems []error
				j.meta, problems = encodeMeta(t.GetAdditionalMetaInfo())
				for _, err := range problems {
					x.note(err)
				}
			}
		case revert:
			x.revert(ctx)
		}
	}
}

// revert asks for the task that undoes this one, where that is wanted.
func (x *executor) revert(ctx context.Context) {
	j := &x.job
	t, ok := j.task.(Reverter)
	switch {
	case j.msg.Revert && !ok:
		x.note(&InputError{Problem: fmt.Sprintf("a task of type %q cannot be undone: it has no Revert", j.msg.Type)})
		return
	case !ok, !j.msg.Revert && j.failure == nil && j.code != Error && j.code != TimeLimitExceeded:
		return
	}
	undo, err := t.Revert(ctx)
	if err == nil && undo != nil {
		j.undo, err = undo.message()
	}
	j.code = max(j.code, Success)
	x.note(err)
}

// caught turns a panic of the phase under way, or the end of the goroutine, into a failure.
func (x *executor) caught() {
	if x.job.phase == over {
		return
	}
	f := &pluginpb.Failure{}
	switch v := recover().(type) {
	case nil:
		f.Kind, f.Message = kindGoexit, "the task ended its own goroutine (runtime.Goexit)"
	case error:
		f = failureOf(v)
		f.Kind = kindPanic
	default:
		f.Kind, f.Message = kindPanic, text(fmt.Sprint(v), MaxFailureBytes)
	}
	stack := make([]byte, MaxFailureBytes)
	f.Stack = text(string(stack[:runtime.Stack(stack, false)]), MaxFailureBytes)
	x.noteFailure(f)
}

// note records the error of the phase under way.
func (x *executor) note(err error) {
	if err == nil {
		return
	}
	f := failureOf(err)
	j := &x.job
	if cause := context.Cause(&j.base.ctx); cause != nil && j.phase <= doJob {
		if errors.Is(cause, ErrTimeLimit) && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrTimeLimit)) {
			j.code = TimeLimitExceeded
		}
		if !errors.Is(err, cause) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
			f.Message = text(f.Message+": "+cause.Error(), MaxFailureBytes)
		}
	}
	x.noteFailure(f)
}

// noteFailure records a failure of the phase under way: as the task's own, or beside it.
func (x *executor) noteFailure(f *pluginpb.Failure) {
	j := &x.job
	if j.failure == nil && (j.phase <= doJob || j.msg.Revert) {
		j.failure = f
		return
	}
	f.Message = text(j.phase.String()+": "+f.Message, MaxFailureBytes)
	j.also = append(j.also, f)
}

// send puts the result of the job into the outbox and forgets the job.
func (x *executor) send() {
	j := &x.job
	e, r := newResult()
	r.Id, r.Meta, r.Failure, r.Also, r.Undo = j.msg.Id, j.meta, j.failure, j.also, j.undo
	switch {
	case j.failure != nil && j.code == TimeLimitExceeded:
		r.ReturnCode = int32(TimeLimitExceeded)
	case j.failure != nil:
		r.ReturnCode = int32(Error)
	case j.code < Success || j.code > TimeLimitExceeded:
		r.ReturnCode = int32(Unknown)
	default:
		r.ReturnCode = int32(j.code)
	}
	if j.refused {
		r.Response = []string{j.failure.Message}
	} else {
		j.base.end(r)
	}
	waiting := x.in.rest() // before the host can know of the end: it may end an idle process at once
	leaving := x.out.putResult(e, resultSize(r), waiting)
	x.in.mark.ended()
	x.job = job{}
	if leaving && waiting > 0 {
		// Those who send go first: sending would disturb the next task, which might end the
		// process before it is done.
		for range 3 {
			runtime.Gosched()
		}
	}
}
