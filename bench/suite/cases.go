package suite

import (
	"fmt"
	"time"

	"github.com/backplane/leptir/bench/rig"
)

var rate = Metric{Name: "rate", Unit: "tasks/s"}

// asynqNote says what is not compared fairly with asynq.
const asynqNote = "asynq runs its tasks in its own process and keeps no record of a task that has succeeded; " +
	"leptir hands each to a plugin process and keeps a record of each."

// Cases returns all cases.
func Cases() []Case {
	return append([]Case{
		pooled(), costs(), fresh(), params("params-1k", 1<<10, 30000, 3000), params("params-64k", 64<<10, 3000, 200),
	}, append(timed(), pushSingle(), pushBulk(), pickUp(), backlog(), hotAndCold(), logs(), recovery(), idle())...)
}

func pooled() Case {
	leptir := func(name, backend string, keep bool, full, quick int, more func(*rig.Setup)) Arm {
		s := rig.Setup{Backend: backend, KeepProcesses: keep}
		if more != nil {
			more(&s)
		}
		return Arm{Name: name, Size: fmt.Sprintf("%d tasks", full), Run: throughput(s, noop, full, quick)}
	}
	return Case{
		Name: "noop-pooled", Title: "Tasks that do nothing, 4 pooled processes", Metrics: []Metric{rate, cpu}, Ref: "asynq on Redis",
		Note: asynqNote + " Records, leases and retries are on. \"kept\" is max_tasks = 0: a process is not replaced after 10,000 tasks, " +
			"as those of the others are not. asynq-64 has 64 tasks at once instead of 4. MongoDB is not a real mongod but the wire-compatible server " +
			"that the tests bring, which runs one command at a time: that arm shows that it works, not how fast MongoDB is.",
		Floors: []Floor{{Arm: "leptir on Redis, kept", Metric: "rate", Least: 6}, {Arm: "leptir on SQLite, kept", Metric: "rate", Least: 2.5}},
		Arms: []Arm{
			leptir("leptir on Redis, kept", rig.Redis, true, 150000, 20000, nil),
			leptir("leptir on Redis", rig.Redis, false, 100000, 20000, nil),
			leptir("leptir on SQLite, kept", rig.SQLite, true, 100000, 20000, nil),
			leptir("leptir on SQLite", rig.SQLite, false, 100000, 20000, nil),
			leptir("leptir on SQLite, synced", rig.SQLite, true, 50000, 10000, func(s *rig.Setup) { s.Synchronous = "full" }),
			leptir("leptir on MongoDB wire", rig.MongoDB, true, 1000, 200, nil),
			{Name: "asynq on Redis", Size: "30000 tasks", Run: asynqThroughput(4, noop, 30000, 5000)},
			{Name: "asynq-64 on Redis", Size: "30000 tasks", Run: asynqThroughput(64, noop, 30000, 5000)},
			{Name: "Celery prefork on Redis", Size: "3000 tasks", Peer: Celery, Run: celeryThroughput(false, 3000, 500)},
			{Name: "BullMQ sandboxed on Redis", Size: "10000 tasks", Peer: BullMQ, Run: bullThroughput(10000, 2000)},
		},
	}
}

func fresh() Case {
	return Case{
		Name: "noop-fresh", Title: "Tasks that do nothing, a fresh process for each, 4 at once", Metrics: []Metric{rate}, Ref: "bare fork+exec",
		Note: "Bare fork+exec starts the same binary, which ends at once, 4 at a time: no queue, no record, no connection. Celery forks a child " +
			"of a running interpreter for each task and starts no program.",
		Floors: []Floor{{Arm: "leptir on Redis", Metric: "rate", Least: 1.0 / 3}, {Arm: "leptir on SQLite", Metric: "rate", Least: 1.0 / 3},
			{Arm: "leptir on Redis", Metric: "rate", To: "Celery, a child for each task", Least: 12}},
		Arms: []Arm{
			{Name: "leptir on Redis", Size: "600 tasks", Run: throughput(rig.Setup{Backend: rig.Redis, Fresh: true}, noop, 600, 60)},
			{Name: "leptir on SQLite", Size: "600 tasks", Run: throughput(rig.Setup{Backend: rig.SQLite, Fresh: true}, noop, 600, 60)},
			{Name: "bare fork+exec", Size: "1500 processes", Run: forkExec(4, 1500, 150)},
			{Name: "Celery, a child for each task", Size: "60 tasks", Peer: Celery, Run: celeryThroughput(true, 60, 30)},
		},
	}
}

func params(name string, bytes, full, quick int) Case {
	size := fmt.Sprintf("%d tasks", full)
	return Case{
		Name: name, Title: fmt.Sprintf("Tasks with %d KiB of parameters, 4 pooled processes", bytes>>10), Metrics: []Metric{rate, cpu}, Ref: "asynq on Redis",
		Note: asynqNote + " Leptir's task reads its parameter; asynq's gets the bytes and looks at none.",
		Arms: []Arm{
			{Name: "leptir on Redis", Size: size, Run: throughput(rig.Setup{Backend: rig.Redis, KeepProcesses: true}, dataOf(bytes), full, quick)},
			{Name: "leptir on SQLite", Size: size, Run: throughput(rig.Setup{Backend: rig.SQLite, KeepProcesses: true}, dataOf(bytes), full, quick)},
			{Name: "asynq on Redis", Size: size, Run: asynqThroughput(4, dataOf(bytes), full, quick)},
		},
	}
}

func timed() (cases []Case) {
	for _, c := range []struct {
		name, work, title string
		workers           int
		full, quick       int
		floor             float64
	}{
		{"sleep-1ms-4", "sleep:1ms", "Tasks that sleep 1 ms, 4 workers", 4, 8000, 1000, 0.95},
		{"sleep-1ms-64", "sleep:1ms", "Tasks that sleep 1 ms, 64 workers", 64, 40000, 5000, 0},
		{"sleep-100ms-4", "sleep:100ms", "Tasks that sleep 100 ms, 4 workers", 4, 160, 20, 0},
		{"sleep-100ms-64", "sleep:100ms", "Tasks that sleep 100 ms, 64 workers", 64, 2560, 300, 0},
		{"spin-1ms-4", "spin:1ms", "Tasks that compute for 1 ms, 4 workers", 4, 4000, 500, 0},
	} {
		size := fmt.Sprintf("%d tasks", c.full)
		ref := fmt.Sprintf("%d bare loops", c.workers)
		leptir := func(name, backend string) Arm {
			return Arm{Name: name, Size: size, Run: throughput(rig.Setup{Backend: backend, Workers: c.workers}, workOf(c.work), c.full, c.quick)}
		}
		k := Case{Name: c.name, Title: c.title, Metrics: []Metric{rate}, Ref: ref,
			Note: "The bare loops are as many processes that do the same work and nothing else; there is no queue. " + asynqNote,
			Arms: []Arm{
				leptir("leptir on Redis", rig.Redis), leptir("leptir on SQLite", rig.SQLite),
				{Name: "asynq on Redis", Size: size, Run: asynqThroughput(c.workers, workOf(c.work), c.full, c.quick)},
				{Name: ref, Size: "2 s", Run: loops(c.workers, c.work, 2*time.Second, 500*time.Millisecond)},
			}}
		if c.floor > 0 {
			k.Floors = []Floor{{Arm: "leptir on Redis", Metric: "rate", Least: c.floor}, {Arm: "leptir on SQLite", Metric: "rate", Least: c.floor}}
		}
		cases = append(cases, k)
	}
	return cases
}

// Guarded is the comparison that guards against a collapse.
func Guarded() Case {
	return Case{Name: "guard", Metrics: []Metric{rate}, Ref: "asynq", Arms: []Arm{
		{Name: "leptir", Run: throughput(rig.Setup{Backend: rig.Redis, KeepProcesses: true}, noop, 30000, 20000)},
		{Name: "asynq", Run: asynqThroughput(64, noop, 8000, 5000)}}}
}
