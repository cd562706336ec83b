package dispatch

import (
	"math/rand/v2"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/pool"
)

// countWait is how long a draw waits for a broker that is being asked for its count; a
// slower one sits the draw out.
const countWait = 250 * time.Millisecond

// feed leases tasks as the pool wants them, until feeding ends. One goroutine.
func (d *Dispatcher) feed() {
	defer close(d.feedDone)
	defer d.giveBackLate()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for d.feedCtx.Err() == nil {
		now := time.Now()
		outstanding := 0 // tasks asked for, not answered yet
		for _, s := range d.sources {
			if !now.Before(s.askedAt.Add(countWait)) {
				s.awaited, s.owed = 0, 0 // too slow to wait for: others may fill its place
			}
			outstanding += s.awaited + s.owed
		}
		wanted := d.o.Pool.Want()
		d.cramped.Store(true) // before looking, so that no settlement falls between
		room := d.o.MaxHeld - d.Held()
		d.cramped.Store(room < wanted)
		want := min(wanted, room) - outstanding
		sleep := d.tuning().BusySleep
		switch asked, pause := d.choose(want, now); {
		case asked > 0:
			continue
		case want > 0:
			sleep = pause
		}
		if outstanding > 0 {
			sleep = min(sleep, countWait)
		}
		// All workers busy, all queues empty, or answers under way: whatever changes that
		// ends the sleep at once.
		timer.Reset(max(sleep, time.Millisecond))
		select {
		case <-d.feedCtx.Done():
		case <-timer.C:
		case <-d.pings:
		case <-d.o.Pool.Changed():
		case <-d.room:
		case <-d.woken:
			for _, s := range d.sources {
				if s.woke.Swap(false) {
					s.countAt = time.Time{}
				}
			}
		case r := <-d.results:
			d.answered(r)
			// What was drawn meanwhile is asked for now, as far as there is something.
			s := r.source
			n := min(s.owed, int(min(s.count, batchMost)))
			s.owed = 0
			if n > 0 {
				s.ask(ask{lease: n}, time.Now())
			}
		}
	}
}

// choose asks sources for up to want tasks, drawn by rank. It returns how many it has asked
// for and, where that is none, how long to sleep.
func (d *Dispatcher) choose(want int, now time.Time) (asked int, sleep time.Duration) {
	if want <= 0 {
		return 0, d.tuning().BusySleep
	}
	sleep = d.tuning().EmptySleep
	priorities := make([]int, len(d.sources))
	due := make([]bool, len(d.sources))
	counting := false
	for i, s := range d.sources {
		priorities[i] = s.Priority
		until, down := s.down(now)
		switch {
		case s.asked:
			if s.askedAt.Add(countWait).After(now) {
				// It takes part in the draw: else a slow answer would lower its rank.
				counting = counting || s.countAt.IsZero()
				due[i] = len(d.sources) > 1 && s.count > int64(s.owed)
			}
		case down:
			sleep = min(sleep, max(until.Sub(now), time.Millisecond))
		case !s.fresh && (s.countAt.IsZero() || now.Sub(s.countAt) >= max(s.CountFor, d.emptyAge(s))):
			if len(d.sources) == 1 {
				// There is nothing to choose, so nothing to count.
				due[i] = true
				continue
			}
			s.ask(ask{}, now)
			s.countAt = time.Time{}
			counting = true
		case s.count > 0:
			due[i] = true
		default:
			sleep = min(sleep, max(s.CountFor, d.emptyAge(s))-now.Sub(s.countAt))
		}
	}
	if counting {
		return 0, countWait
	}
	for _, s := range d.sources {
		s.fresh = false
	}
	shares := make([]int, len(d.sources))
	weights := brokers.Weights(priorities, due)
	for range want {
		i := brokers.Draw(weights, rand.Float64())
		if i < 0 {
			break
		}
		shares[i]++
		if s := d.sources[i]; len(d.sources) > 1 && int64(shares[i]+s.owed) >= s.count {
			due[i] = false
			weights = brokers.Weights(priorities, due)
		} else if len(d.sources) == 1 {
			shares[i] = want
			break
		}
	}
	for i, n := range shares {
		if s := d.sources[i]; n > 0 && s.asked {
			s.owed += n
			asked += n
		} else if n > 0 {
			d.sources[i].ask(ask{lease: min(n, batchMost)}, now)
			asked += min(n, batchMost)
		}
	}
	return asked, sleep
}

// emptyAge is how long an empty queue is left in peace.
func (d *Dispatcher) emptyAge(s *source) time.Duration {
	if s.count > 0 {
		return 0
	}
	return d.tuning().EmptySleep
}

func (s *source) ask(a ask, now time.Time) {
	s.asked, s.askedAt, s.awaited = true, now, a.lease
	s.asks <- a // has room: one at a time
}

// answered takes in what a source has answered.
func (d *Dispatcher) answered(r result) {
	s, now := r.source, time.Now()
	s.asked, s.awaited = false, 0
	switch {
	case r.err != nil && r.leased == 0:
		s.count, s.countAt = 0, now
		return
	case r.ask.lease == 0:
		s.count, s.countAt, s.fresh = r.count, now, true
		if s.count == 0 {
			d.waitFor(s)
		}
		return
	}
	s.count = max(0, s.count-int64(r.leased))
	if r.leased < r.ask.lease {
		// That was all. A single source is asked once more after its Waiter has been set
		// up, since a push may fall between the two.
		s.count, s.countAt = 0, now
		if d.waitFor(s) && r.leased == 0 {
			s.countAt = time.Time{}
		}
	} else if len(d.sources) == 1 {
		s.countAt = time.Time{}
	} else if s.count == 0 {
		// As far as is remembered that was all: what is there all the same, or comes now,
		// is not to wait for the next count.
		d.waitFor(s)
	}
	d.submit(r.deliveries)
}

// waitFor has the source's Waiter wait, if it does not already. It reports whether it has
// set it up just now.
func (d *Dispatcher) waitFor(s *source) bool {
	if _, ok := brokers.Ability[brokers.Waiter](s.Broker.Broker); !ok {
		return false
	}
	select {
	case s.waiting <- struct{}{}:
		return true
	default:
		return false
	}
}

// submit hands deliveries to the pool.
func (d *Dispatcher) submit(deliveries []*delivery) {
	jobs := make([]*pool.Job, 0, len(deliveries))
	for _, dv := range deliveries {
		if job := d.job(dv); job != nil {
			jobs = append(jobs, job)
		}
	}
	if len(jobs) == 0 {
		return
	}
	d.inPool.Add(int64(len(jobs)))
	if err := d.o.Pool.Submit(jobs); err != nil {
		d.inPool.Add(-int64(len(jobs)))
		for _, j := range jobs {
			d.release(j.Tag.(*delivery), time.Time{}, "")
		}
	}
}

// job makes a delivery into a job; nil if its lease has been lost meanwhile, or somebody has
// cancelled it.
func (d *Dispatcher) job(dv *delivery) *pool.Job {
	limit := dv.Task.TimeLimit
	switch {
	case limit == 0:
		limit = d.o.TimeLimit(dv.Task.Type)
	case limit < 0:
		limit = 0
	}
	j := &pool.Job{Task: dv.Task, Attempt: dv.Attempt, Limit: limit, Tag: dv}
	dv.source.mu.Lock()
	lost, cancelled := dv.lost, dv.cancelled
	dv.job = j
	dv.source.mu.Unlock()
	if cancelled != nil && !lost {
		d.settleCancelled(dv, *cancelled)
		return nil
	}
	if lost {
		dv.source.forget([]brokers.Settlement{{ID: dv.Task.ID, Token: dv.Token}})
		return nil
	}
	return j
}

// giveBackLate gives back what was leased while feeding ended.
func (d *Dispatcher) giveBackLate() {
	for _, s := range d.sources {
		for s.asked {
			select {
			case r := <-d.results:
				r.source.asked = false
				for _, dv := range r.deliveries {
					d.release(dv, time.Time{}, "")
				}
			case <-time.After(time.Second):
				// Its goroutine has ended without taking the ask, or the broker hangs:
				// then the leases end by themselves.
				s.asked = false
			}
		}
	}
}
