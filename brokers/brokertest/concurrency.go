package brokertest

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

var concurrencyCases = []testCase{
	{"no task twice, all settled once", func(e *env) {
		a, b := e.open(), e.open()
		const n = 400
		var (
			mu   sync.Mutex
			held = map[task.ID]bool{}
			done = map[task.ID]int{}
			wg   sync.WaitGroup
		)
		finished := func() bool { mu.Lock(); defer mu.Unlock(); return len(done) >= n }
		end := time.Now().Add(2 * patience)

		for i := range 4 {
			h := []brokers.Broker{a, b}[i%2]
			wg.Go(func() {
				for range n / 4 / 20 {
					if err := h.Push(e.ctx(), e.tasks(20)); err != nil {
						e.Errorf("push: %v", err)
					}
				}
			})
		}
		for i := range 8 {
			h := []brokers.Broker{a, b}[i%2]
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 7))
				for !finished() {
					if time.Now().After(end) {
						e.Errorf("not all tasks were done in time")
						return
					}
					ds, err := h.Lease(e.ctx(), 1+rng.IntN(16), long)
					if err != nil {
						e.Errorf("lease: %v", err)
						return
					}
					if len(ds) == 0 {
						e.pause()
						continue
					}
					mu.Lock()
					for _, d := range ds {
						if held[d.Task.ID] || done[d.Task.ID] > 0 {
							e.Errorf("task %s was leased while it was leased or done", d.Task.ID)
						}
						held[d.Task.ID] = true
					}
					mu.Unlock()
					if rng.IntN(3) == 0 {
						if lost, err := h.Extend(e.ctx(), long, ds); err != nil || len(lost) > 0 {
							e.Errorf("extend: lost %v, %v", lost, err)
						}
					}
					ss := settlements(brokers.Done, ds)
					mu.Lock()
					for j := range ss {
						delete(held, ss[j].ID)
						switch rng.IntN(10) {
						case 0:
							ss[j].Verdict = brokers.Retry
						case 1:
							ss[j].Verdict = brokers.Release
						default:
							done[ss[j].ID]++
						}
					}
					mu.Unlock()
					if lost, err := h.Settle(e.ctx(), ss); err != nil || len(lost) > 0 {
						e.Errorf("settle: lost %v, %v", lost, err)
					}
				}
			})
		}
		wg.Wait()
		require.Len(e.T, done, n)
		for id, times := range done {
			require.Equal(e.T, 1, times, "task %s", id)
		}
		e.empty(a)
	}},
	{"one of many pushers of an id wins", func(e *env) {
		a, b := e.open(), e.open()
		ts := e.tasks(20)
		var wg sync.WaitGroup
		for i := range 6 {
			h := []brokers.Broker{a, b}[i%2]
			wg.Go(func() {
				if err := h.Push(e.ctx(), ts); err != nil {
					e.Errorf("push: %v", err)
				}
			})
		}
		wg.Wait()
		e.stats(a, brokers.Stats{Ready: 20})
		require.ElementsMatch(e.T, ids(ts), leasedIDs(e.lease(b, 20, long)))
		e.leaseNone(a)
	}},
	{"one of many settlers of a lease wins", func(e *env) {
		a := e.open()
		e.push(a, 30)
		ds := e.lease(a, 30, long)
		var (
			mu  sync.Mutex
			won int
			wg  sync.WaitGroup
		)
		for range 5 {
			wg.Go(func() {
				lost, err := a.Settle(e.ctx(), settlements(brokers.Done, ds))
				if err != nil {
					e.Errorf("settle: %v", err)
				}
				mu.Lock()
				won += len(ds) - len(lost)
				mu.Unlock()
			})
		}
		wg.Wait()
		require.Equal(e.T, 30, won)
		e.empty(a)
	}},
}
