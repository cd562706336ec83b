package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/backplane/leptir/bench/rig"
	"github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/host"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/config/standard"
	"github.com/backplane/leptir/host/dispatch"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/internal/pluginpb"
	memstore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

// hostTasks is how many tasks a host runs while it is measured.
const hostTasks = 20000

// wholeHost measures a host in this process, whose plugin runs in processes of its own: all
// that leptir allocates for a task, but for the plugin.
func wholeHost(backend string) func(context.Context, *rig.Rig) (Cost, error) {
	return func(ctx context.Context, r *rig.Rig) (Cost, error) {
		var m meter
		err := opened(ctx, r, rig.Setup{Backend: backend}, func(h *rig.Host) error {
			return runHeld(ctx, h, "bench.noop", nil, hostTasks, m.read)
		})
		return m.cost(hostTasks), err
	}
}

// plugin measures what a plugin's process allocates for a task, as it says itself.
func plugin(ctx context.Context, r *rig.Rig) (Cost, error) {
	var c Cost
	err := opened(ctx, r, rig.Setup{Backend: rig.Redis, Workers: 1, Spares: -1}, func(h *rig.Host) error {
		before, err := told(ctx, h)
		if err == nil {
			err = runHeld(ctx, h, "bench.noop", nil, hostTasks, func() {})
		}
		if err != nil {
			return err
		}
		after, err := told(ctx, h)
		if err == nil && after.process != before.process {
			err = errors.New("the tasks ran in several processes")
		}
		c = Cost{float64(after.Mallocs-before.Mallocs) / hostTasks, float64(after.Bytes-before.Bytes) / hostTasks}
		return err
	})
	return c, err
}

// account is what a plugin's process says of itself.
type account struct {
	Mallocs, Bytes uint64
	process        int
}

// told runs a task that tells what its process has allocated so far.
func told(ctx context.Context, h *rig.Host) (a account, err error) {
	ids, err := h.Push(ctx, "bench.mallocs", nil, 1)
	if err == nil {
		err = emptied(ctx, h)
	}
	if err != nil {
		return a, err
	}
	records, err := h.Store.Get(ctx, ids)
	if err == nil && len(records) != 1 {
		err = errors.New("a task has no record")
	}
	if err == nil {
		err = json.Unmarshal(records[0].Run.Result, &a)
	}
	if err != nil {
		return a, err
	}
	a.process = records[0].Run.Process
	return a, nil
}

// opened runs do with a host in this process that has run tasks already.
func opened(ctx context.Context, r *rig.Rig, s rig.Setup, do func(h *rig.Host) error) error {
	return prepared(ctx, r, s, func(h *rig.Host) error {
		cfg, err := config.Load(h.Config, standard.Kinds())
		if err != nil {
			return err
		}
		in, err := host.Open(ctx, cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		defer in.Stop(ctx)
		if _, err := h.Push(ctx, "bench.noop", nil, 2000); err != nil {
			return err
		}
		if err := emptied(ctx, h); err != nil {
			return err
		}
		return do(h)
	})
}

// emptied waits until all tasks are settled.
func emptied(ctx context.Context, h *rig.Host) error {
	for range 3000 {
		left, err := h.Remaining(ctx)
		if err != nil || left == 0 {
			return err
		}
		if err := rig.Wait(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("the tasks do not come to an end")
}

// runHeld runs n tasks that the host finds all at once, and calls read before and after.
func runHeld(ctx context.Context, h *rig.Host, typ string, params []byte, n int, read func()) error {
	if err := h.Hold(ctx); err != nil {
		return err
	}
	if _, err := h.Push(ctx, typ, params, n); err != nil {
		return err
	}
	read()
	defer read()
	if err := h.Go(ctx); err != nil {
		return err
	}
	return emptied(ctx, h)
}

// dispatched measures the dispatcher between a queue and a store in memory, with a pool that
// ends every task at once.
func dispatched(ctx context.Context, _ *rig.Rig) (Cost, error) {
	var m meter
	queue := memory.New()
	defer queue.Close()
	store := memstore.New()
	defer store.Close()
	if err := queue.Push(ctx, tasks(hostTasks)); err != nil {
		return Cost{}, err
	}
	e := &echo{outcomes: make(chan []pool.Outcome, 64), changed: make(chan struct{}, 1)}
	m.read()
	d := dispatch.New(dispatch.Options{Pool: e, Logger: slog.New(slog.DiscardHandler), Host: "bench", Lease: time.Minute, MaxAttempts: 5, MaxCrashes: 3,
		EmptySleep: 100 * time.Millisecond, BusySleep: 100 * time.Millisecond,
		Brokers: []dispatch.Broker{{Name: "queue", Kind: "memory", Broker: queue}},
		Stores:  []dispatch.Store{{Name: "records", Store: store}}})
	var err error
	for e.ended.Load() < hostTasks || d.Held() > 0 {
		if err = rig.Wait(ctx, time.Millisecond); err != nil {
			break
		}
	}
	m.read()
	close(e.outcomes)
	d.Close()
	if n := e.ended.Load(); err == nil && n != hostTasks {
		err = fmt.Errorf("%d tasks have run, not %d", n, hostTasks)
	}
	return m.cost(hostTasks), err
}

// echo is a pool that runs nothing: every task has succeeded as soon as it is submitted.
type echo struct {
	dispatch.Runner // what the dispatcher does not call here
	outcomes        chan []pool.Outcome
	changed         chan struct{}
	ended           atomic.Int64
}

func (e *echo) Submit(jobs []*pool.Job) error {
	now := time.Now()
	out := make([]pool.Outcome, len(jobs))
	for i, j := range jobs {
		out[i] = pool.Outcome{Job: j, Kind: pool.Ended, Plugin: "echo", PID: 1, Started: now, Duration: time.Microsecond,
			Result: &pluginpb.Result{Id: string(j.Task.ID), ReturnCode: int32(task.Success)}}
	}
	e.outcomes <- out
	e.ended.Add(int64(len(jobs)))
	return nil
}

func (e *echo) Outcomes() <-chan []pool.Outcome { return e.outcomes }
func (e *echo) Want() int                       { return 1024 }
func (e *echo) Changed() <-chan struct{}        { return e.changed }
