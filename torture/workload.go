package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
	"github.com/backplane/leptir/torture/journal"
)

// order is a task to be pushed, and what must come of it.
type order struct {
	id     task.ID
	kind   string
	params params
	after  time.Duration // due so long after its push
}

// params are the plugin's.
type params struct {
	Milliseconds int    `json:"ms,omitempty"`
	Failures     int    `json:"failures,omitempty"`
	After        int    `json:"after,omitempty"`
	Exits        int    `json:"exits,omitempty"`
	Child        string `json:"child,omitempty"`
	Text         string `json:"text,omitempty"`
	Sum          string `json:"sum,omitempty"`
	GiveUp       bool   `json:"give_up,omitempty"`
}

// workload draws n tasks. The same seed gives the same ones.
func workload(seed uint64, n int) []order {
	rng := rand.New(rand.NewPCG(seed, 0x7461736b)) //nolint:gosec // repeatable, not secret
	orders := make([]order, n)
	for i := range orders {
		o := order{kind: "quick"}
		switch r := rng.IntN(100); {
		case r < 55:
		case r < 70:
			o.kind, o.params.Milliseconds = "slow", 50+rng.IntN(1950)
		case r < 78:
			o.kind, o.params.Failures, o.params.After = "flaky", 1+rng.IntN(2), 1+rng.IntN(1000)
		case r < 81:
			o.kind, o.params.Exits = "exit", 1
		case r < 87:
			o.kind = "parent"
		case r < 92:
			o.kind, o.params.Text = "large", journal.Blob(rng.Uint64(), 1<<10+rng.IntN(100<<10))
		case r < 94:
			o.kind, o.params.GiveUp = "doomed", true
		default:
			o.after = time.Duration(rng.IntN(3000)) * time.Millisecond
		}
		o.id = task.ID(fmt.Sprintf("t%06d-%s", i, o.kind))
		if o.kind == "parent" {
			o.params.Child = string(o.id) + "-child"
		}
		o.params.Sum = journal.Sum(o.params.Text)
		orders[i] = o
	}
	return orders
}

func (o *order) task(now time.Time) (task.Task, error) {
	b, err := json.Marshal(o.params)
	t := task.Task{ID: o.id, Type: "torture." + o.kind, Params: b, PushedAt: now.UTC()}
	if o.after > 0 {
		t.At = now.Add(o.after).UTC()
	}
	return t, err
}

// mostWaiting is how many tasks may wait in the queue before the producer waits, too: faults
// are to strike a queue at work, and some servers for tests are slow with many.
const mostWaiting = 200

// unknown is how long the producer waits for a queue that does not say what it has.
const unknown = time.Minute

// producer pushes tasks evenly over a span of time, or as fast as the queue is worked off,
// each until the queue has said that it has it.
type producer struct {
	broker  brokers.Broker
	waiting func(ctx context.Context) int64 // how many tasks wait in the queue; below 0: nobody knows
	most    int                             // tasks in one call

	mu     sync.Mutex
	pushed map[task.ID]time.Time // since when the queue has it
	again  map[task.ID]bool      // pushed more than once, after an answer that was none
	asked  map[task.ID]time.Time // since when it has been asked to take it, the last time
	errors int
}

func newProducer(b brokers.Broker, waiting func(context.Context) int64) *producer {
	return &producer{broker: b, waiting: waiting, most: 100, pushed: map[task.ID]time.Time{}, again: map[task.ID]bool{}, asked: map[task.ID]time.Time{}}
}

// run pushes all orders within about span, or until ctx ends.
func (p *producer) run(ctx context.Context, orders []order, span time.Duration) error {
	began, room := time.Now(), 0
	for done := 0; done < len(orders); {
		for looked := time.Now(); room <= 0; {
			n := p.waiting(ctx)
			if n < 0 && time.Since(looked) > unknown {
				n = mostWaiting / 2
			}
			if room = mostWaiting - int(n); n < 0 || room <= 0 {
				room = 0
				if !sleep(ctx, 200*time.Millisecond) {
					return ctx.Err()
				}
			}
		}
		due := len(orders)
		if span > 0 {
			due = min(due, 1+int(float64(len(orders))*time.Since(began).Seconds()/span.Seconds()))
		}
		if n := min(due-done, room, p.most); n > 0 {
			if err := p.push(ctx, orders[done:done+n]); err != nil {
				return err
			}
			done, room = done+n, room-n
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
	}
	return nil
}

// push pushes orders as one call, as often as it takes. Like a program that calls the
// producer package again, it names the time anew each time.
func (p *producer) push(ctx context.Context, orders []order) error {
	for try := 0; ; try++ {
		tasks := make([]task.Task, len(orders))
		for i := range orders {
			var err error
			if tasks[i], err = orders[i].task(time.Now()); err != nil {
				return err
			}
		}
		asked := time.Now()
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := p.broker.Push(call, tasks)
		cancel()
		p.mu.Lock()
		for i := range orders {
			if err == nil {
				p.pushed[orders[i].id], p.asked[orders[i].id] = time.Now(), asked
			} else {
				p.again[orders[i].id] = true
			}
		}
		if err != nil {
			p.errors++
		}
		p.mu.Unlock()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("push: %w", err)
		case <-time.After(min(time.Second, 50*time.Millisecond<<min(try, 6))):
		}
	}
}
