package suite

import (
	"context"
	"fmt"
	"time"

	"github.com/backplane/leptir/bench/rig"
)

// costs tells where the processor time goes.
func costs() Case {
	unit := "µs/task"
	arm := func(name, backend string, full, quick int) Arm {
		return Arm{Name: name, Size: fmt.Sprintf("%d tasks", full), Run: leptirCosts(backend, full, quick)}
	}
	return Case{
		Name: "costs", Title: "Processor time of a task that does nothing, 4 pooled processes", Ref: "asynq on Redis",
		Metrics: []Metric{{Name: "all", Unit: unit, Lower: true}, {Name: "host", Unit: unit, Lower: true}, {Name: "plugins", Unit: unit, Lower: true},
			{Name: "server", Unit: unit, Lower: true}},
		Note: "User and system time of the processes while the tasks run, divided by their number. It changes less than rates do on a busy machine. " +
			"asynq has no plugins: its host is its worker, with 64 tasks at once.",
		Arms: []Arm{arm("leptir on Redis", rig.Redis, 100000, 20000), arm("leptir on SQLite", rig.SQLite, 100000, 20000),
			{Name: "asynq on Redis", Size: "30000 tasks", Run: asynqCosts(64, 30000, 5000)}},
	}
}

func leptirCosts(backend string, full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (v Values, err error) {
		l := noop.times(e.Size(full, quick))
		h, err := started(ctx, e, rig.Setup{Backend: backend, KeepProcesses: true}, l)
		if err != nil {
			return nil, err
		}
		defer closing(h, &err)
		if _, err = waiting(ctx, h, l); err != nil {
			return nil, err
		}
		before, err := spentBy(e, h.Process)
		if err != nil {
			return nil, err
		}
		if err = h.Go(ctx); err != nil {
			return nil, err
		}
		if _, err = drain(ctx, l.n, h.Remaining); err != nil {
			return nil, err
		}
		after, err := spentBy(e, h.Process)
		return after.since(before, l.n), err
	}
}

func asynqCosts(concurrency, full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (v Values, err error) {
		n := e.Size(full, quick)
		a, err := warmAsynq(ctx, e, concurrency, noop)
		if err != nil {
			return nil, err
		}
		defer a.stopping(&err)
		if err = a.inspector.PauseQueue(asynqQueue); err != nil {
			return nil, err
		}
		if err = a.push(ctx, "bench.noop", nil, n); err != nil {
			return nil, err
		}
		before, err := spentBy(e, a.Process)
		if err != nil {
			return nil, err
		}
		if err = a.inspector.UnpauseQueue(asynqQueue); err != nil {
			return nil, err
		}
		if _, err = drain(ctx, n, a.left); err != nil {
			return nil, err
		}
		after, err := spentBy(e, a.Process)
		return after.since(before, n), err
	}
}

// spent is processor time.
type spent struct{ host, plugins, server time.Duration }

// spentBy returns what a worker, the processes that it has started, and the Redis server have
// spent so far.
func spentBy(e *Env, p *rig.Process) (s spent, err error) {
	u, err := rig.UsageOf(p.PID())
	if err != nil {
		return s, err
	}
	s.host = u.CPU
	for _, pid := range rig.ChildrenOf(p.PID()) {
		if c, err := rig.UsageOf(pid); err == nil { // it may just have ended
			s.plugins += c.CPU
		}
	}
	server, err := e.RedisUsage()
	s.server = server.CPU
	return s, err
}

func (s spent) since(before spent, tasks int) Values {
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(tasks) }
	v := Values{"host": per(s.host - before.host), "plugins": per(s.plugins - before.plugins), "server": per(s.server - before.server)}
	v["all"] = v["host"] + v["plugins"] + v["server"]
	return v
}
