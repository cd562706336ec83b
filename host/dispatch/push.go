package dispatch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

const (
	// pushBacklog bounds the tasks that wait to be pushed, over all running tasks; more
	// are refused, which their pushers are told.
	pushBacklog = 4096
	pushBatch   = 256
)

// Pusher queues the tasks that tasks push, so that no plugin needs to know a broker. One
// goroutine pushes as many at once as have gathered. It is safe for concurrent use.
type Pusher struct {
	set     *brokers.Set
	box     *mailbox[push]
	waiting atomic.Int64
	ctx     context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

type push struct {
	task  task.Task
	reply func(*pluginpb.PushReply)
}

// NewPusher starts a pusher. It does not close the set.
func NewPusher(set *brokers.Set) *Pusher {
	p := &Pusher{set: set, box: newMailbox[push]()}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.wg.Go(p.loop)
	return p
}

// Close ends the pusher; what still waits is refused.
func (p *Pusher) Close() {
	p.stop()
	p.box.close()
	p.wg.Wait()
}

// Push queues what a plugin asks for, and replies when it is durable, or why it is not. It
// does not block.
func (p *Pusher) Push(m *pluginpb.Push, reply func(*pluginpb.PushReply)) {
	t, err := pushedTask(m, time.Now().UTC())
	if err != nil {
		reply(&pluginpb.PushReply{Error: clip(err.Error(), maxReason)})
		return
	}
	if p.waiting.Add(1) > pushBacklog {
		p.waiting.Add(-1)
		reply(&pluginpb.PushReply{Error: fmt.Sprintf("%d tasks wait to be pushed already; try again later", pushBacklog)})
		return
	}
	p.box.put(push{t, reply})
}

// pushedTask checks what a plugin, an untrusted process, wants to have queued.
func pushedTask(m *pluginpb.Push, now time.Time) (task.Task, error) {
	in := m.GetTask()
	t := task.Task{ID: task.ID(in.GetId()), Type: in.GetType(), Params: in.GetParams(), Priority: int(in.GetPriority()),
		TimeLimit: time.Duration(in.GetTimeLimit()), PushedAt: now, MaxAttempts: int(in.GetMaxAttempts())}
	if t.ID == "" {
		t.ID = task.NewID()
	}
	if at := m.GetAt(); at > 0 {
		t.At = time.Unix(0, at).UTC()
	}
	return t, t.Validate()
}

func (p *Pusher) loop() {
	for {
		batch, ok := p.box.take(pushBatch)
		if !ok {
			return
		}
		p.pushAll(batch)
		p.waiting.Add(-int64(len(batch)))
	}
}

// pushAll pushes a batch, and where that fails one by one, so that each pusher is told what
// became of its own.
func (p *Pusher) pushAll(batch []push) {
	if len(batch) > 1 {
		tasks := make([]task.Task, len(batch))
		for i := range batch {
			tasks[i] = batch[i].task
		}
		if p.push(tasks) == nil {
			for i := range batch {
				batch[i].reply(&pluginpb.PushReply{Id: string(tasks[i].ID)})
			}
			return
		}
	}
	for i := range batch {
		r := &pluginpb.PushReply{Id: string(batch[i].task.ID)}
		if err := p.push([]task.Task{batch[i].task}); err != nil {
			r = &pluginpb.PushReply{Error: clip(err.Error(), maxReason)}
		}
		batch[i].reply(r)
	}
}

func (p *Pusher) push(tasks []task.Task) error {
	ctx, cancel := context.WithTimeout(p.ctx, callTimeout)
	defer cancel()
	_, err := p.set.Push(ctx, tasks)
	return err
}
