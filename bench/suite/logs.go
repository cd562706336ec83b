package suite

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/backplane/leptir/bench/rig"
)

func logs() Case {
	arm := func(name string, lines, full, quick int) Arm {
		return Arm{Name: name, Size: fmt.Sprintf("%d tasks", full), Run: logRate(lines, full, quick)}
	}
	return Case{Name: "logs", Title: "Tasks that log 200 lines each (Redis, 4 pooled processes, a log file)", Ref: "no lines",
		Metrics: []Metric{rate, {Name: "lines", Unit: "lines/s"}, {Name: "written", Unit: "of 1", Detail: "share of the lines that stand in the log"}},
		Note:    "What one process may log is bounded (1 MiB at once, 256 KiB/s): the tasks are as few as it takes to stay below that.",
		Arms:    []Arm{arm("no lines", 0, 50000, 10000), arm("200 lines a task", 200, 150, 100)}}
}

func logRate(lines, full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (v Values, err error) {
		l := load{typ: "bench.log", params: map[string]any{"lines": lines}, n: e.Size(full, quick)}
		h, err := started(ctx, e, rig.Setup{Backend: rig.Redis, KeepProcesses: true}, noop)
		if err != nil {
			return nil, err
		}
		defer closing(h, &err)
		ids, err := waiting(ctx, h, l)
		if err != nil {
			return nil, err
		}
		if err = h.Go(ctx); err != nil {
			return nil, err
		}
		perSecond, err := drain(ctx, l.n, h.Left)
		if err != nil {
			return nil, err
		}
		if err = h.CheckRecords(ctx, ids); err != nil || lines == 0 {
			return Values{"rate": perSecond}, err
		}
		log, err := os.ReadFile(h.LogAt)
		if err != nil {
			return nil, fmt.Errorf("the host's log: %w", err)
		}
		written := bytes.Count(log, []byte("a line of a task that says much"))
		return Values{"rate": perSecond, "lines": perSecond * float64(lines), "written": float64(written) / float64(lines*l.n)}, nil
	}
}
