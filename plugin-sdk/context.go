package sdk

import (
	"context"
	"sync"
	"time"
)

// taskContext is the context of one task. It is made with the task, so the context proper
// (with its timer, where there is a deadline) is made only when somebody asks for it: most
// short tasks never do.
type taskContext struct {
	task     *BaseTask
	parent   context.Context
	deadline time.Time // zero: none of its own

	mu     sync.Mutex
	inner  context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // the deadline's
	cause  error              // why it was cancelled, where that came before inner
}

type taskKey struct{}

// FromContext returns the task that ctx, or a context that ctx was made from, was given
// to; nil if there is none.
func FromContext(ctx context.Context) *BaseTask {
	t, _ := ctx.Value(taskKey{}).(*BaseTask)
	return t
}

func (c *taskContext) proper() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner = c.parent
		if !c.deadline.IsZero() {
			c.inner, c.stop = context.WithDeadlineCause(c.parent, c.deadline, ErrTimeLimit)
		}
		c.inner, c.cancel = context.WithCancelCause(c.inner)
		if c.cause != nil {
			c.end()
		}
	}
	return c.inner
}

// end cancels inner, with c.mu held.
func (c *taskContext) end() {
	c.cancel(c.cause)
	if c.stop != nil {
		c.stop()
	}
}

// finish cancels the context; only the first cause counts.
func (c *taskContext) finish(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return
	}
	c.cause = cause
	if c.inner != nil {
		c.end()
	}
}

func (c *taskContext) Deadline() (time.Time, bool) {
	if d, ok := c.parent.Deadline(); ok && (c.deadline.IsZero() || d.Before(c.deadline)) {
		return d, true
	}
	return c.deadline, !c.deadline.IsZero()
}

func (c *taskContext) Done() <-chan struct{} { return c.proper().Done() }

func (c *taskContext) Err() error { return c.proper().Err() }

func (c *taskContext) Value(key any) any {
	if _, ok := key.(taskKey); ok {
		return c.task
	}
	return c.proper().Value(key)
}
