package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/backplane/leptir/internal/pluginpb"
)

// An Outcome is how a task ended that Try has run, or package sdktest.
type Outcome struct {
	Code     ReturnCode
	Response []string       // the response lines; the failure's message is the last one
	States   []int          // the states that the task went through
	Meta     map[string]any // the additional meta info, as it comes out of JSON
	Result   any            // the value of SetResult, as it comes out of JSON
	Duration time.Duration

	// Failure is why the task failed, nil if it did not; Also are the failures that did
	// not decide the outcome.
	Failure *Failure
	Also    []Failure

	Logs     []LogLine
	Progress []Progress // all that it told, in order
	Reports  []Report   // what it told the error reporters itself, in order
	Pushed   []NewTask  // what it pushed, Params as json.RawMessage
	Undo     *NewTask   // what would undo it, of a Reverter that failed or was asked to
}

// A Failure is an error as the host is told of it.
type Failure struct {
	Message    string
	Stack      string
	Kind       string // "error", "panic", "goexit", "input" or, of a time limit, "timeout"
	Permanent  bool
	RetryAfter time.Duration
	Data       map[string]any
}

// A Progress is how much of a task was done, and what it was at.
type Progress struct {
	Fraction float64 // from 0 to 1
	Text     string
}

// A Report is what a task told the error reporters: one of the three is set.
type Report struct {
	Failure *Failure       // by ReportError
	Message string         // by ReportMessage
	Data    map[string]any // by AddErrorData
}

// A LogLine is a line that a task logged.
type LogLine struct {
	Level   slog.Level
	Message string
	Attrs   map[string]any // as they come out of JSON
}

// Try runs one task of the type in this process, as a plugin process would, and returns
// when it has ended: for unit tests of tasks. The params are as in NewTask.Params; the
// task's context is made from ctx. What the task pushes is accepted and noted. Try panics
// if params are not fit for JSON.
//
// Package sdktest has more: assertions, a virtual clock, the built binary.
func Try(ctx context.Context, typ TaskType, params any) Outcome {
	return TryWith(ctx, typ, params, TryOptions{})
}

// TryOptions say what a task of TryWith is told of itself. The zero value is a first
// attempt without a time limit.
type TryOptions struct {
	ID       string // empty: "try"
	Attempt  int    // 0: the first, 1
	Priority int
	// TimeLimit ends the task's context a little before it is over, as a host does. A task
	// that has not returned then is given up (a host would kill it): its Code is
	// TimeLimitExceeded. In this process its goroutine lives on until it returns. 0: none.
	TimeLimit time.Duration
	// Revert asks for the task that would undo this one, instead of running it.
	Revert bool
}

// TryWith is Try with options.
func TryWith(ctx context.Context, typ TaskType, params any, options TryOptions) Outcome {
	n := NewTask{Type: typ.name, Params: params, ID: options.ID, Priority: options.Priority, TimeLimit: options.TimeLimit}
	if n.ID == "" {
		n.ID = "try"
	}
	msg, err := n.message()
	if err != nil {
		panic(fmt.Sprintf("sdk.Try: %v", err))
	}
	msg.Attempt = int32(max(1, options.Attempt))
	msg.Revert = options.Revert
	msg.SoftLimit = int64(SoftLimit(options.TimeLimit))
	return try(ctx, typ, msg)
}

// SoftLimit returns when the context of a task with the time limit ends, as hosts have it
// by default: a tenth of the limit, and at most 2 s, before it. Package sdktest needs it.
func SoftLimit(limit time.Duration) time.Duration { return limit - min(limit/10, 2*time.Second) }

func try(ctx context.Context, typ TaskType, msg *pluginpb.Task) Outcome {
	ctx, cancel := context.WithCancel(ctx) // of a task that is given up
	defer cancel()
	in, out := newInbox(), newOutbox(nil)
	out.allProgress = true
	x := newExecutor(ctx, []TaskType{typ}, in, out)
	in.put([]*pluginpb.Task{msg})
	in.close()
	go x.loop()

	var o Outcome
	var sender sync.WaitGroup
	sender.Go(func() {
		_ = out.sendAll(func(m *pluginpb.PluginMessage) error { // which never fails
			for _, e := range m.Events {
				if reply := o.Note(e); reply != nil {
					out.pushes.answer(reply)
				}
			}
			return nil
		})
	})
	var limit <-chan time.Time
	if msg.TimeLimit > 0 {
		timer := time.NewTimer(time.Duration(msg.TimeLimit))
		defer timer.Stop()
		limit = timer.C
	}
	select {
	case <-x.done:
	case <-limit:
	}
	out.close() // to whatever a task does that is given up
	sender.Wait()
	if o.Code == 0 {
		o.GiveUp(time.Duration(msg.TimeLimit))
	}
	return o
}

// GiveUp makes o the outcome of a task that a host has killed at its time limit. Package
// sdktest needs it.
func (o *Outcome) GiveUp(limit time.Duration) {
	o.Code, o.Duration = TimeLimitExceeded, limit
	o.Failure = &Failure{Kind: "timeout", Message: fmt.Sprintf("time limit of %v exceeded", limit)}
	o.Response = []string{o.Failure.Message}
}

// Note takes in an event that a plugin sends, as a host would, and returns the reply to
// one that asks for it. Package sdktest needs it.
func (o *Outcome) Note(e *pluginpb.Event) *pluginpb.PushReply {
	switch e := e.Kind.(type) {
	case *pluginpb.Event_Log:
		o.Logs = append(o.Logs, LogLine{slog.Level(e.Log.Level), e.Log.Message, decodeObject(e.Log.Attrs)})
	case *pluginpb.Event_State:
		o.States = append(o.States, int(e.State.State))
	case *pluginpb.Event_Progress:
		o.Progress = append(o.Progress, Progress{e.Progress.Fraction, e.Progress.Text})
	case *pluginpb.Event_Report:
		r := Report{Message: e.Report.GetMessage(), Data: decodeObject(e.Report.GetData())}
		if err := e.Report.GetError(); err != nil {
			f := newFailure(err)
			r.Failure = &f
		}
		o.Reports = append(o.Reports, r)
	case *pluginpb.Event_Push:
		n := newTaskOf(e.Push.Task)
		if n.ID == "" {
			n.ID = fmt.Sprintf("%s-%d", e.Push.Id, e.Push.Seq)
		}
		if e.Push.At != 0 {
			n.At = time.Unix(0, e.Push.At).UTC()
		}
		o.Pushed = append(o.Pushed, *n)
		return &pluginpb.PushReply{Seq: e.Push.Seq, Id: n.ID}
	case *pluginpb.Event_Result:
		r := e.Result
		o.Code, o.Response, o.Duration = ReturnCode(r.ReturnCode), r.Response, time.Duration(r.Duration)
		o.States = nil
		for _, s := range r.States {
			o.States = append(o.States, int(s))
		}
		o.Meta = decodeObject(r.Meta)
		if len(r.Value) > 0 {
			_ = json.Unmarshal(r.Value, &o.Result) // json.Marshal has made it
		}
		if r.Failure != nil {
			f := newFailure(r.Failure)
			o.Failure = &f
		}
		for _, f := range r.Also {
			o.Also = append(o.Also, newFailure(f))
		}
		if r.Undo != nil {
			o.Undo = newTaskOf(r.Undo)
		}
	}
	return nil
}

func newTaskOf(t *pluginpb.Task) *NewTask {
	n := &NewTask{Type: t.Type, ID: t.Id, Priority: int(t.Priority), TimeLimit: time.Duration(t.TimeLimit), MaxAttempts: int(t.MaxAttempts)}
	if len(t.Params) > 0 {
		n.Params = json.RawMessage(t.Params)
	}
	return n
}

func newFailure(f *pluginpb.Failure) Failure {
	return Failure{f.Message, f.Stack, f.Kind, f.Permanent, time.Duration(f.RetryAfter), decodeObject(f.Data)}
}

func decodeObject(b []byte) map[string]any {
	if len(b) == 0 {
		return nil
	}
	m := map[string]any{}
	_ = json.Unmarshal(b, &m) // json.Marshal has made it
	return m
}
