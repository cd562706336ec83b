package suite

import (
	"context"
	"fmt"

	"github.com/backplane/leptir/bench/rig"
)

func backlog() Case {
	arm := func(name, backend string, waiting, quick, times int) Arm {
		return Arm{Name: name, Size: fmt.Sprintf("%d waiting, %d times", waiting, times), Run: backlogCost(backend, waiting, quick, times)}
	}
	return Case{
		Name: "backlog", Title: "Many tasks waiting", Ref: "Redis, 10,000 waiting",
		Metrics: []Metric{{Name: "wall", Unit: "µs/task", Lower: true}, cpu, {Name: "resident", Unit: "MiB", Lower: true, Detail: "peak of the host"}},
		Note: "Tasks that do nothing, 4 pooled processes, records kept. Of a long queue the first part is run; a short one is run several times. " +
			"Resident is the most memory that the host's process has had by then.",
		Floors: []Floor{{Arm: "Redis, 1,000,000 waiting", Metric: "wall", Most: 1.2}, {Arm: "Redis, 1,000,000 waiting", Metric: "cpu", Most: 1.2},
			{Arm: "Redis, 1,000,000 waiting", Metric: "resident", Absolute: true, Most: 80},
			{Arm: "SQLite, 1,000,000 waiting", Metric: "resident", Absolute: true, Most: 80}},
		Arms: []Arm{arm("Redis, 10,000 waiting", rig.Redis, 10_000, 5_000, 10), arm("Redis, 100,000 waiting", rig.Redis, 100_000, 10_000, 2),
			arm("Redis, 1,000,000 waiting", rig.Redis, 1_000_000, 50_000, 1),
			arm("SQLite, 10,000 waiting", rig.SQLite, 10_000, 5_000, 10), arm("SQLite, 1,000,000 waiting", rig.SQLite, 1_000_000, 20_000, 1)},
	}
}

// longest is how many tasks of a queue are run at the most.
const longest = 200_000

// backlogCost measures what a task costs while so many wait, and how much memory the host
// takes.
func backlogCost(backend string, full, quick, times int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (v Values, err error) {
		n := e.Size(full, quick)
		if e.Quick {
			times = min(times, 2)
		}
		h, err := started(ctx, e, rig.Setup{Backend: backend, KeepProcesses: true}, noop)
		if err != nil {
			return nil, err
		}
		defer closing(h, &err)
		v = Values{}
		for range times {
			if _, err = waiting(ctx, h, noop.times(n)); err != nil {
				return nil, err
			}
			once, err := released(ctx, e, h.Process, n, min(n, longest), h.Go, h.Left)
			if err != nil {
				return nil, err
			}
			v["wall"] += 1e6 / once["rate"] / float64(times)
			v["cpu"] += once["cpu"] / float64(times)
		}
		u, err := rig.UsageOf(h.PID())
		if err != nil {
			return nil, err
		}
		if n > longest { // the rest is in the way of a quick end
			err = h.Hold(ctx)
		}
		v["resident"] = float64(u.Peak) / (1 << 20)
		return v, err
	}
}

func hotAndCold() Case {
	arm := func(name string, cold int) Arm {
		return Arm{Name: name, Size: "100000 tasks", Run: throughput(rig.Setup{Backend: rig.Redis, Cold: cold, KeepProcesses: true}, noop, 100000, 20000)}
	}
	return Case{Name: "hot-cold", Title: "One queue with tasks, three empty ones beside it (Redis)", Metrics: []Metric{rate}, Ref: "1 queue",
		Note: "All queues have the same priority.", Arms: []Arm{arm("1 queue", 0), arm("1 hot queue, 3 cold ones", 3)}}
}
