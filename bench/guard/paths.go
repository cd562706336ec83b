package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/backplane/leptir/bench/rig"
	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

const (
	// batch is how many tasks go into one call of a broker or a store.
	batch = 256
	// rounds is how many such calls are measured.
	rounds = 20
)

func paths() []path {
	return []path{
		{"codec, encode", encode},
		{"codec, decode", decode},
		{"broker redis, push", push(rig.Redis)},
		{"broker redis, lease and settle", leaseAndSettle(rig.Redis)},
		{"broker sqlite, push", push(rig.SQLite)},
		{"broker sqlite, lease and settle", leaseAndSettle(rig.SQLite)},
		{"store redis, put", put(rig.Redis)},
		{"store sqlite, put", put(rig.SQLite)},
		{"dispatch", dispatched},
		{"host on redis", wholeHost(rig.Redis)},
		{"host on sqlite", wholeHost(rig.SQLite)},
		{"plugin", plugin},
	}
}

func tasks(n int) []task.Task {
	now := time.Now().UTC()
	ts := make([]task.Task, n)
	for i := range ts {
		ts[i] = task.Task{ID: task.NewID(), Type: "bench.noop", Params: []byte(`{"to":"somebody@example.org","n":42}`), PushedAt: now}
	}
	return ts
}

func encode(context.Context, *rig.Rig) (Cost, error) {
	var m meter
	ts := tasks(5000)
	m.read()
	for i := range ts {
		if _, err := task.Encode(&ts[i]); err != nil {
			return Cost{}, err
		}
	}
	m.read()
	return m.cost(len(ts)), nil
}

func decode(context.Context, *rig.Rig) (Cost, error) {
	var m meter
	ts := tasks(1)
	b, err := task.Encode(&ts[0])
	if err != nil {
		return Cost{}, err
	}
	const n = 5000
	m.read()
	for range n {
		if _, err := task.Decode(b); err != nil {
			return Cost{}, err
		}
	}
	m.read()
	return m.cost(n), nil
}

// prepared opens a queue and a store without a host.
func prepared(ctx context.Context, r *rig.Rig, s rig.Setup, do func(h *rig.Host) error) error {
	if err := r.Flush(ctx); err != nil {
		return err
	}
	s.KeepProcesses = true
	h, err := r.Prepare(ctx, s)
	if err != nil {
		return err
	}
	return errors.Join(do(h), h.Close())
}

func push(backend string) func(context.Context, *rig.Rig) (Cost, error) {
	return func(ctx context.Context, r *rig.Rig) (Cost, error) {
		var m meter
		ts := tasks(rounds * batch)
		err := prepared(ctx, r, rig.Setup{Backend: backend}, func(h *rig.Host) error {
			if err := h.Queue.Push(ctx, tasks(1)); err != nil {
				return err
			}
			m.read()
			defer m.read()
			for i := 0; i < len(ts); i += batch {
				if err := h.Queue.Push(ctx, ts[i:i+batch]); err != nil {
					return err
				}
			}
			return nil
		})
		return m.cost(len(ts)), err
	}
}

func leaseAndSettle(backend string) func(context.Context, *rig.Rig) (Cost, error) {
	return func(ctx context.Context, r *rig.Rig) (Cost, error) {
		var m meter
		err := prepared(ctx, r, rig.Setup{Backend: backend}, func(h *rig.Host) error {
			if err := h.Queue.Push(ctx, tasks((rounds+1)*batch)); err != nil {
				return err
			}
			if err := leaseAndSettleBatch(ctx, h.Queue); err != nil { // scripts are loaded, statements prepared
				return err
			}
			m.read()
			defer m.read()
			for range rounds {
				if err := leaseAndSettleBatch(ctx, h.Queue); err != nil {
					return err
				}
			}
			return nil
		})
		return m.cost(rounds * batch), err
	}
}

func leaseAndSettleBatch(ctx context.Context, queue brokers.Broker) error {
	ds, err := queue.Lease(ctx, batch, time.Minute)
	if err != nil {
		return err
	}
	if len(ds) != batch {
		return fmt.Errorf("%d tasks leased, not %d", len(ds), batch)
	}
	ss := make([]brokers.Settlement, len(ds))
	for i, d := range ds {
		ss[i] = brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done}
	}
	lost, err := queue.Settle(ctx, ss)
	if err == nil && len(lost) > 0 {
		err = fmt.Errorf("%d leases are lost", len(lost))
	}
	return err
}

func put(backend string) func(context.Context, *rig.Rig) (Cost, error) {
	return func(ctx context.Context, r *rig.Rig) (Cost, error) {
		var m meter
		now := time.Now().UTC()
		records := make([]task.Record, rounds*batch)
		for i := range records {
			records[i] = task.Record{ID: task.NewID(), Type: "bench.noop", Status: task.Completed, RetC: task.Success, ExTime: 0.001, ExStart: now,
				Run: task.Run{Attempt: 1, Delivery: 1, Host: "bench", Process: 4711, Plugin: "benchplugin", Ended: now}}
		}
		err := prepared(ctx, r, rig.Setup{Backend: backend}, func(h *rig.Host) error {
			if err := h.Store.Put(ctx, records[:1]); err != nil {
				return err
			}
			m.read()
			defer m.read()
			for i := 0; i < len(records); i += batch {
				if err := h.Store.Put(ctx, records[i:i+batch]); err != nil {
					return err
				}
			}
			return nil
		})
		return m.cost(len(records)), err
	}
}
