package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/backplane/leptir/internal/pluginpb"
)

// NewTask is a task to be queued: one that a task pushes, or one that undoes another.
type NewTask struct {
	// Type says which kind of task it is, for example "mailer.send"; any plugin may serve
	// it.
	Type string
	// Params are the parameters: anything that encoding/json turns into an object, such
	// as a struct or a map. A json.RawMessage or []byte is taken as the JSON text. Nil:
	// none.
	Params any
	// ID is the task's id; empty: the host makes one. Pushing the same ID twice queues
	// one task, so a task that pushes others and is tried again should derive their ids
	// from its own.
	ID string
	// Priority chooses the queue; lower is more urgent.
	Priority int
	// TimeLimit is the most time the task may run; 0: the host's default.
	TimeLimit time.Duration
	// At is the time before which it does not run; zero: at once. Of a task that undoes
	// another it is not used.
	At time.Time
	// MaxAttempts is how often it is attempted if it fails, at most 1000; 1 is no retry, 0
	// what its plugin's block or the host says.
	MaxAttempts int
}

// mostAttempts is the greatest MaxAttempts that hosts take.
const mostAttempts = 1000

// message turns n into what is sent.
func (n *NewTask) message() (*pluginpb.Task, error) {
	switch {
	case !goodName(n.Type):
		return nil, fmt.Errorf("task type %q: a name is 1 to %d letters, digits, dots, underscores and dashes", n.Type, maxNameBytes)
	case n.TimeLimit < 0:
		return nil, fmt.Errorf("time limit %v is negative", n.TimeLimit)
	case n.MaxAttempts < 0 || n.MaxAttempts > mostAttempts:
		return nil, fmt.Errorf("%d attempts: they can be 1 to %d, or 0 for what the host says", n.MaxAttempts, mostAttempts)
	case len(n.ID) > maxNameBytes:
		return nil, fmt.Errorf("task id is %d bytes, at most %d are allowed", len(n.ID), maxNameBytes)
	}
	var params []byte
	switch p := n.Params.(type) {
	case nil:
	case []byte:
		params = p
	case json.RawMessage:
		params = p
	default:
		var err error
		if params, err = json.Marshal(p); err != nil {
			return nil, fmt.Errorf("parameters: %w", err)
		}
	}
	params = bytes.TrimSpace(params)
	if len(params) > MaxParamsBytes {
		return nil, fmt.Errorf("parameters are %d bytes, at most %d are allowed", len(params), MaxParamsBytes)
	}
	if bytes.Equal(params, []byte("null")) {
		params = nil
	}
	if len(params) > 0 && (params[0] != '{' || !json.Valid(params)) {
		return nil, errors.New("parameters are not a JSON object")
	}
	return &pluginpb.Task{
		Id: text(n.ID, maxNameBytes), Type: n.Type, Params: params,
		Priority: int32(n.Priority), TimeLimit: int64(n.TimeLimit), MaxAttempts: int32(n.MaxAttempts),
	}, nil
}

// Push asks the host to queue a task and waits until it is durably queued, for as long as
// ctx allows. It returns the task's id. After an error the task may have been queued
// nevertheless, if the error is the context's.
func (t *BaseTask) Push(ctx context.Context, n NewTask) (id string, err error) {
	msg, err := n.message()
	if err != nil {
		return "", fmt.Errorf("push task: %w", err)
	}
	p := &pluginpb.Push{Task: msg}
	if !n.At.IsZero() {
		p.At = n.At.UnixNano()
	}
	reply, err := t.sendPush(p)
	if err != nil {
		return "", fmt.Errorf("push task %s: %w", n.Type, err)
	}
	defer t.out.pushes.forget(p.Seq)
	select {
	case r := <-reply:
		if r.Error != "" {
			return "", fmt.Errorf("push task %s: host: %s", n.Type, r.Error)
		}
		return r.Id, nil
	case <-ctx.Done():
		return "", fmt.Errorf("push task %s: no answer from the host: %w", n.Type, context.Cause(ctx))
	case <-t.ctx.Done():
		return "", fmt.Errorf("push task %s: no answer from the host: %w", n.Type, context.Cause(&t.ctx))
	}
}

// Push is BaseTask.Push of the task that ctx belongs to.
func Push(ctx context.Context, n NewTask) (id string, err error) {
	t := FromContext(ctx)
	if t == nil {
		return "", fmt.Errorf("push task %s: the context is not that of a task", n.Type)
	}
	return t.Push(ctx, n)
}

func (t *BaseTask) sendPush(p *pluginpb.Push) (<-chan *pluginpb.PushReply, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.out == nil:
		return nil, errors.New("the task runs without a host")
	case t.ended:
		return nil, errTaskEnded
	}
	reply := t.out.pushes.expect(p)
	p.Id = t.msg.GetId()
	t.out.put(&pluginpb.Event{Kind: &pluginpb.Event_Push{Push: p}}, 128+len(p.Task.Params))
	return reply, nil
}
