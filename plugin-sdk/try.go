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

// An Outcome is how a task ended that Try has run.
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

	Logs   []LogLine
	Pushed []NewTask // what it pushed, Params as json.RawMessage
	Undo   *NewTask  // what would undo it, of a Reverter that failed
}

// A Failure is an error as the host is told of it.
type Failure struct {
	Message    string
	Stack      string
	Kind       string // "error", "panic", "goexit" or "input"
	Permanent  bool
	RetryAfter time.Duration
	Data       map[string]any
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
func Try(ctx context.Context, typ TaskType, params any) Outcome {
	msg, err := (&NewTask{Type: typ.name, Params: params, ID: "try"}).message()
	if err != nil {
		panic(fmt.Sprintf("sdk.Try: %v", err))
	}
	msg.Attempt = 1
	return try(ctx, typ, msg)
}

func try(ctx context.Context, typ TaskType, msg *pluginpb.Task) Outcome {
	in, out := newInbox(), newOutbox()
	x := newExecutor(ctx, []TaskType{typ}, in, out)
	in.put([]*pluginpb.Task{msg})
	in.close()
	go x.loop()

	var o Outcome
	var sender sync.WaitGroup
	sender.Go(func() {
		_ = out.sendAll(func(m *pluginpb.PluginMessage) error { // which never fails
			for _, e := range m.Events {
				o.take(e, out)
			}
			return nil
		})
	})
	<-x.done
	out.close()
	sender.Wait()
	return o
}

// take notes an event, as a host would.
func (o *Outcome) take(e *pluginpb.Event, out *outbox) {
	switch e := e.Kind.(type) {
	case *pluginpb.Event_Log:
		o.Logs = append(o.Logs, LogLine{slog.Level(e.Log.Level), e.Log.Message, decodeObject(e.Log.Attrs)})
	case *pluginpb.Event_Push:
		n := newTaskOf(e.Push.Task)
		if n.ID == "" {
			n.ID = fmt.Sprintf("%s-%d", e.Push.Id, e.Push.Seq)
		}
		if e.Push.At != 0 {
			n.At = time.Unix(0, e.Push.At).UTC()
		}
		o.Pushed = append(o.Pushed, *n)
		out.pushes.answer(&pluginpb.PushReply{Seq: e.Push.Seq, Id: n.ID})
	case *pluginpb.Event_Result:
		r := e.Result
		o.Code, o.Response, o.Duration = ReturnCode(r.ReturnCode), r.Response, time.Duration(r.Duration)
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
}

func newTaskOf(t *pluginpb.Task) *NewTask {
	n := &NewTask{Type: t.Type, ID: t.Id, Priority: int(t.Priority), TimeLimit: time.Duration(t.TimeLimit)}
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
