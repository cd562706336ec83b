package suite

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/backplane/leptir/bench/rig"
	"github.com/backplane/leptir/task"
)

func pushSingle() Case {
	c := pushCase("push-single", "Pushes of one task, one after the other, by one producer", 1, 5000, 1000)
	c.Arms = append(c.Arms, Arm{Name: "asynq on Redis", Size: "5000 tasks", Run: asynqPush(5000, 1000)})
	return c
}

func pushBulk() Case {
	c := pushCase("push-bulk", "Pushes of 1,000 tasks at once, by one producer", 1000, 50000, 10000)
	c.Arms = append(c.Arms, Arm{Name: "asynq on Redis", Size: "5000 tasks", Run: asynqPush(5000, 1000)})
	c.Note += " asynq has no push of many tasks: its arm pushes one by one."
	return c
}

func pushCase(name, title string, batch, full, quick int) Case {
	arm := func(name, backend string, full, quick int) Arm {
		return Arm{Name: name, Size: fmt.Sprintf("%d tasks", full), Run: pushRate(backend, batch, full, quick)}
	}
	return Case{Name: name, Title: title, Metrics: []Metric{rate}, Ref: "asynq on Redis",
		Note: "No host runs meanwhile. A push to SQLite is in the file on return and survives the death of every process.",
		Arms: []Arm{arm("leptir on Redis", rig.Redis, full, quick), arm("leptir on SQLite", rig.SQLite, full, quick),
			arm("leptir on MongoDB wire", rig.MongoDB, full/25, quick/5)}}
}

func pushRate(backend string, batch, full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (v Values, err error) {
		n := e.Size(full, quick)
		h, err := e.Prepare(ctx, rig.Setup{Backend: backend})
		if err != nil {
			return nil, err
		}
		defer closing(h, &err)
		begin := time.Now()
		for left := n; left > 0; left -= batch {
			tasks := make([]task.Task, min(batch, left))
			now := time.Now().UTC()
			for i := range tasks {
				tasks[i] = task.Task{ID: task.NewID(), Type: "bench.noop", Params: []byte(`{"to":"somebody@example.org","n":42}`), PushedAt: now}
			}
			if err := h.Queue.Push(ctx, tasks); err != nil {
				return nil, err
			}
		}
		took := time.Since(begin)
		left, err := h.Remaining(ctx)
		if err == nil && left != int64(n) {
			err = fmt.Errorf("%d of %d tasks are in the queue", left, n)
		}
		return Values{"rate": float64(n) / took.Seconds()}, err
	}
}

func asynqPush(full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (Values, error) {
		n := e.Size(full, quick)
		client := asynq.NewClient(asynqOption(e))
		defer client.Close()
		begin := time.Now()
		for range n {
			if _, err := client.EnqueueContext(ctx, asynq.NewTask("bench.noop", []byte(`{"to":"somebody@example.org","n":42}`))); err != nil {
				return nil, err
			}
		}
		return Values{"rate": float64(n) / time.Since(begin).Seconds()}, nil
	}
}
