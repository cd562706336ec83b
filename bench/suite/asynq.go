package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/backplane/leptir/bench/rig"
)

// asynqQueue is asynq's default queue.
const asynqQueue = "default"

// asynqSide is an asynq worker and what pushes to it.
type asynqSide struct {
	*rig.Process
	client    *asynq.Client
	inspector *asynq.Inspector
	left      func(context.Context) (int64, error)
	close     func()
}

func asynqOption(e *Env) asynq.RedisClientOpt {
	return asynq.RedisClientOpt{Addr: e.RedisAddr(), DB: rig.AsynqDB}
}

// startAsynq starts a worker with so many tasks at once.
func startAsynq(ctx context.Context, e *Env, concurrency int, socket string) (*asynqSide, error) {
	a := &asynqSide{client: asynq.NewClient(asynqOption(e)), inspector: asynq.NewInspector(asynqOption(e))}
	c := e.Redis(rig.AsynqDB)
	a.close = func() {
		_ = a.client.Close()
		_ = a.inspector.Close()
		_ = c.Close()
	}
	a.left = func(ctx context.Context) (int64, error) {
		pipe := c.Pipeline()
		pending, active := pipe.LLen(ctx, "asynq:{default}:pending"), pipe.LLen(ctx, "asynq:{default}:active")
		retry := pipe.ZCard(ctx, "asynq:{default}:retry")
		_, err := pipe.Exec(ctx)
		return pending.Val() + active.Val() + retry.Val(), err
	}
	var err error
	a.Process, err = rig.StartProcess(e.Dir, []string{"LEPTIR_BENCH_SOCKET=" + socket}, e.AsynqWorker,
		"-redis", e.RedisAddr(), "-db", strconv.Itoa(rig.AsynqDB), "-concurrency", strconv.Itoa(concurrency))
	if err != nil {
		a.close()
	}
	return a, err
}

func (a *asynqSide) stop() error {
	defer a.close()
	return a.Stop(15 * time.Second)
}

// stopping stops it; what goes wrong with that becomes the error if there is none.
func (a *asynqSide) stopping(err *error) {
	if serr := a.stop(); *err == nil {
		*err = serr
	}
}

// pushers is how many push to asynq at once where the pushing is not what is measured.
const pushers = 8

// push enqueues tasks.
func (a *asynqSide) push(ctx context.Context, typ string, payload []byte, n int) error {
	var wg sync.WaitGroup
	errs := make(chan error, pushers)
	for i := range pushers {
		wg.Go(func() {
			for j := i; j < n; j += pushers {
				if _, err := a.client.EnqueueContext(ctx, asynq.NewTask(typ, payload)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// asynqPayload is what an asynq task gets in place of a leptir task's parameters.
func asynqPayload(l load) (typ string, payload []byte) {
	if do, ok := l.params["do"].(string); ok {
		return l.typ, []byte(do)
	}
	if l.params != nil {
		b, err := json.Marshal(l.params)
		if err != nil {
			panic(err) // they are ours
		}
		return "bench.noop", b
	}
	return l.typ, nil
}

// warmAsynq starts a worker that has run tasks of the load.
func warmAsynq(ctx context.Context, e *Env, concurrency int, l load) (*asynqSide, error) {
	a, err := startAsynq(ctx, e, concurrency, "")
	if err != nil {
		return nil, err
	}
	typ, payload := asynqPayload(l)
	if err = a.push(ctx, typ, payload, warmUp); err == nil {
		err = settled(ctx, a.left)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; %v", err, a.stop())
	}
	return a, nil
}

// asynqThroughput measures how many tasks a second asynq settles.
func asynqThroughput(concurrency int, l load, full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (v Values, err error) {
		n := e.Size(full, quick)
		a, err := warmAsynq(ctx, e, concurrency, l)
		if err != nil {
			return nil, err
		}
		defer a.stopping(&err)
		typ, payload := asynqPayload(l)
		if err = a.inspector.PauseQueue(asynqQueue); err != nil {
			return nil, err
		}
		if err = a.push(ctx, typ, payload, n); err != nil {
			return nil, err
		}
		start := func(context.Context) error { return a.inspector.UnpauseQueue(asynqQueue) }
		return released(ctx, e, a.Process, n, n, start, a.left)
	}
}
