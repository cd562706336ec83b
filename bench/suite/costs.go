package suite

import (
	"fmt"
	"time"

	"github.com/backplane/leptir/bench/rig"
)

// cpu is the processor time of all that take part in a task: host, plugins, Redis server.
var cpu = Metric{Name: "cpu", Unit: "µs/task", Lower: true}

// costs tells where the processor time goes.
func costs() Case {
	unit := "µs/task"
	arm := func(name, backend string, full, quick int) Arm {
		return Arm{Name: name, Size: fmt.Sprintf("%d tasks", full), Run: throughput(rig.Setup{Backend: backend, KeepProcesses: true}, noop, full, quick)}
	}
	return Case{
		Name: "costs", Title: "Processor time of a task that does nothing, 4 pooled processes", Ref: "asynq on Redis",
		Metrics: []Metric{cpu, {Name: "host", Unit: unit, Lower: true}, {Name: "plugins", Unit: unit, Lower: true},
			{Name: "server", Unit: unit, Lower: true}},
		Note: "User and system time of the processes while the tasks run, divided by their number. It changes less than rates do on a busy machine. " +
			"asynq has no plugins: its host is its worker, with 64 tasks at once.",
		Arms: []Arm{arm("leptir on Redis", rig.Redis, 100000, 20000), arm("leptir on SQLite", rig.SQLite, 100000, 20000),
			{Name: "asynq on Redis", Size: "30000 tasks", Run: asynqThroughput(64, noop, 30000, 5000)}},
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
	s.host, s.plugins = u.CPU, u.Reaped
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
	v["cpu"] = v["host"] + v["plugins"] + v["server"]
	return v
}
