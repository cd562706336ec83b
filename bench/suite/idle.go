package suite

import (
	"context"
	"time"

	"github.com/backplane/leptir/bench/rig"
)

func idle() Case {
	arm := func(name, backend string) Arm {
		return Arm{Name: name, Size: "10 s", Run: idleCost(backend, 10*time.Second, time.Second)}
	}
	return Case{
		Name: "idle", Title: "An idle host with 4 warm plugin processes",
		Metrics: []Metric{{Name: "host", Unit: "% of a core", Lower: true}, {Name: "plugins", Unit: "% of a core", Lower: true},
			{Name: "server", Unit: "% of a core", Lower: true, Detail: "the Redis server"},
			{Name: "resident", Unit: "MiB", Lower: true, Detail: "of the host"}},
		Floors: []Floor{{Arm: "leptir on Redis", Metric: "host", Absolute: true, Most: 1}, {Arm: "leptir on SQLite", Metric: "host", Absolute: true, Most: 1}},
		Arms:   []Arm{arm("leptir on Redis", rig.Redis), arm("leptir on SQLite", rig.SQLite)},
	}
}

// idleCost measures what a host uses that has nothing to do.
func idleCost(backend string, full, quick time.Duration) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (v Values, err error) {
		long := full
		if e.Quick {
			long = quick
		}
		h, err := started(ctx, e, rig.Setup{Backend: backend, Spares: 4}, noop)
		if err != nil {
			return nil, err
		}
		defer closing(h, &err)
		if err = rig.Wait(ctx, time.Second); err != nil { // until all spares are there
			return nil, err
		}
		before, err := spentBy(e, h.Process)
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		if err = rig.Wait(ctx, long); err != nil {
			return nil, err
		}
		after, err := spentBy(e, h.Process)
		if err != nil {
			return nil, err
		}
		share := func(d time.Duration) float64 { return 100 * d.Seconds() / time.Since(begin).Seconds() }
		u, err := rig.UsageOf(h.PID())
		return Values{"host": share(after.host - before.host), "plugins": share(after.plugins - before.plugins),
			"server": share(after.server - before.server), "resident": float64(u.Resident) / (1 << 20)}, err
	}
}
