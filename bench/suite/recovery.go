package suite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/backplane/leptir/bench/rig"
)

// recoveryLease is the lease_time of the hosts that are killed.
const recoveryLease = 5 * time.Second

func recovery() Case {
	arm := func(name, backend string, kill bool) Arm {
		return Arm{Name: name, Size: "8000 tasks", Run: killed(backend, kill, 8000, 1500)}
	}
	return Case{
		Name: "recovery", Title: "A host is killed amid tasks that sleep 1 ms, and started again", Ref: "Redis, nothing killed",
		Metrics: []Metric{{Name: "first", Unit: "s", Lower: true, Detail: "until the next task is settled"}, {Name: "all", Unit: "s", Lower: true, Detail: "until all are settled"}},
		Note: fmt.Sprintf("From a quarter of the tasks on. lease_time is %v: what the dead host held runs when its leases have ended. "+
			"asynq's lease is 30 s and cannot be set, and it looks for ended ones once a minute: not measured.", recoveryLease),
		Arms: []Arm{arm("Redis, nothing killed", rig.Redis, false), arm("Redis, host killed", rig.Redis, true),
			arm("SQLite, nothing killed", rig.SQLite, false), arm("SQLite, host killed", rig.SQLite, true)},
	}
}

func killed(backend string, kill bool, full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (v Values, err error) {
		l := workOf("sleep:1ms").times(e.Size(full, quick))
		lease := recoveryLease
		if e.Quick {
			lease = 2 * time.Second
		}
		h, err := started(ctx, e, rig.Setup{Backend: backend, Lease: lease}, l)
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
		quarter := int64(l.n) - int64(l.n)/4
		if _, err = until(ctx, h, quarter); err != nil {
			return nil, err
		}
		begin := time.Now()
		if kill {
			h.Kill()
			if err = h.Start(); err != nil {
				return nil, err
			}
		}
		left, err := h.Remaining(ctx)
		if err != nil {
			return nil, err
		}
		if _, err = until(ctx, h, left-1); err != nil {
			return nil, err
		}
		v = Values{"first": time.Since(begin).Seconds()}
		if _, err = until(ctx, h, 0); err != nil {
			return nil, err
		}
		v["all"] = time.Since(begin).Seconds()
		return v, h.CheckRecords(ctx, ids)
	}
}

// until waits until at most so many tasks are left.
func until(ctx context.Context, h *rig.Host, most int64) (left int64, err error) {
	end := time.Now().Add(2 * stall)
	for {
		left, err = h.Remaining(ctx)
		if err != nil || left <= most {
			return left, err
		}
		if time.Now().After(end) {
			return left, errors.New("nothing happens any more")
		}
		if err = rig.Wait(ctx, lookEvery); err != nil {
			return left, err
		}
	}
}
