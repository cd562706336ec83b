package suite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/backplane/leptir/bench/rig"
	"github.com/backplane/leptir/bench/work"
	"github.com/backplane/leptir/task"
)

// load is tasks of one kind.
type load struct {
	typ    string
	params map[string]any
	n      int
}

func (l load) encoded() []byte {
	if l.params == nil {
		return nil
	}
	b, err := json.Marshal(l.params)
	if err != nil {
		panic(err) // they are ours
	}
	return b
}

var noop = load{typ: "bench.noop"}

func (l load) times(n int) load { l.n = n; return l }

// dataOf are tasks with that many bytes of parameters.
func dataOf(bytes int) load {
	return load{typ: "bench.data", params: map[string]any{"data": work.Text(bytes)}}
}

// workOf are tasks that do what work.Parse understands.
func workOf(text string) load { return load{typ: "bench.work", params: map[string]any{"do": text}} }

// warmUp are the tasks that a host runs before it is measured: so many that it knows how
// long they take.
const warmUp = 64

// started returns a host that runs and has run tasks of the load.
func started(ctx context.Context, e *Env, s rig.Setup, l load) (*rig.Host, error) {
	h, err := e.Prepare(ctx, s)
	if err != nil {
		return nil, err
	}
	if err = h.Start(); err == nil {
		err = settleAll(ctx, h, l.times(warmUp))
	}
	if err != nil {
		return nil, fmt.Errorf("%w; %v", err, h.Close())
	}
	return h, nil
}

// settleAll pushes tasks and waits until all are settled.
func settleAll(ctx context.Context, h *rig.Host, l load) error {
	if _, err := h.Push(ctx, l.typ, l.encoded(), l.n); err != nil {
		return err
	}
	return settled(ctx, h.Remaining)
}

// waiting pushes tasks to a host that holds still, so that it finds all of them at once.
func waiting(ctx context.Context, h *rig.Host, l load) ([]task.ID, error) {
	if err := h.Hold(ctx); err != nil {
		return nil, err
	}
	return h.Push(ctx, l.typ, l.encoded(), l.n)
}

// throughput returns a run that measures how many tasks a second a host settles, and what
// processor time that takes.
func throughput(s rig.Setup, l load, full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (v Values, err error) {
		l := l.times(e.Size(full, quick))
		h, err := started(ctx, e, s, l)
		if err != nil {
			return nil, err
		}
		defer closing(h, &err)
		ids, err := waiting(ctx, h, l)
		if err != nil {
			return nil, err
		}
		v, err = released(ctx, e, h.Process, l.n, l.n, h.Go, h.Left)
		if err != nil {
			return nil, err
		}
		return v, h.CheckRecords(ctx, ids)
	}
}

// released lets a worker go that finds n tasks, and measures until so many of them are
// settled.
func released(ctx context.Context, e *Env, p *rig.Process, n, settled int, start func(context.Context) error,
	remaining func(context.Context) (int64, error)) (Values, error) {
	before, err := spentBy(e, p)
	if err != nil {
		return nil, err
	}
	if err = start(ctx); err != nil {
		return nil, err
	}
	perSecond, err := drainTo(ctx, n, int64(n-settled), remaining)
	if err != nil {
		return nil, err
	}
	after, err := spentBy(e, p)
	v := after.since(before, settled)
	v["rate"] = perSecond
	return v, err
}

// closing closes a host; what goes wrong with that becomes the error if there is none.
func closing(h *rig.Host, err *error) {
	if cerr := h.Close(); cerr != nil && *err == nil {
		*err = cerr
	}
}
