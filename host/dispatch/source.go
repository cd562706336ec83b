package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/task"
)

const (
	// callTimeout bounds one call of a broker, which has a limit of its own besides.
	callTimeout = 30 * time.Second
	// A broker that fails is asked again after a backoff between these.
	retryFirst = 250 * time.Millisecond
	retryMost  = 10 * time.Second
	// batchMost is the most deliveries in one call of a broker.
	batchMost = 1024
	// extendBatch is the most leases that one call renews, extendCalls how many such calls
	// a source has under way at once.
	extendBatch = 512
	extendCalls = 8
)

// source is one broker with what this host holds of it. Its goroutines do all calls of the
// broker, so that one that hangs holds up no other.
type source struct {
	Broker
	d           *Dispatcher
	asks        chan ask
	settlements *mailbox[brokers.Settlement]
	waiting     chan struct{} // asks waitLoop to wait once
	woke        atomic.Bool   // waitLoop has seen new work

	mu       sync.Mutex
	held     map[task.ID]*delivery
	failures int
	problem  string
	lastPoll time.Time
	retryAt  time.Time

	// The feed owns what follows.
	asked   bool // an ask is under way
	askedAt time.Time
	count   int64 // waiting tasks, as of countAt, less what has been leased since
	countAt time.Time
	awaited int  // tasks asked for, not answered yet
	fresh   bool // the count has been in no draw yet
	owed    int  // tasks drawn from it while an ask was under way, to be asked for after it
}

// delivery is a leased task in this host's hands.
type delivery struct {
	brokers.Delivery
	source *source
	since  time.Time // when it came
	job    *pool.Job
	lost   bool // its lease is no longer ours
	// cancelled is set once somebody has cancelled it.
	cancelled *brokers.Cancellation
	// settling says that its settlement is with the broker: it may be delivered anew
	// before the answer is here.
	settling bool
	failures task.Failures // of this task so far
	// announced says that it has been written down that it runs, before it did.
	announced bool
	told      told
	errors    errorData
}

// ask is what the feed wants of a source: to lease so many tasks, or (0) to count them.
type ask struct{ lease int }

// result answers an ask.
type result struct {
	source     *source
	ask        ask
	deliveries []*delivery // to be run
	leased     int         // how many have been leased
	count      int64
	err        error
}

func newSource(d *Dispatcher, b Broker) *source {
	return &source{Broker: b, d: d, asks: make(chan ask, 1), settlements: newMailbox[brokers.Settlement](),
		waiting: make(chan struct{}, 1), held: map[task.ID]*delivery{}}
}

// serve carries out the feed's asks until feeding ends.
func (s *source) serve() {
	for {
		select {
		case <-s.d.feedCtx.Done():
			return
		case a := <-s.asks:
			r := result{source: s, ask: a}
			if a.lease == 0 {
				var st brokers.Stats
				st, r.err = s.stats()
				if r.count = st.Ready; st.Paused {
					r.count = 0 // nothing is handed out, whatever is there
				}
			} else {
				r.deliveries, r.err = s.lease(a.lease)
				r.leased = len(r.deliveries)
				r.deliveries = s.checked(r.deliveries)
			}
			if s.d.feedCtx.Err() != nil {
				// Perhaps nobody waits for the answer any more.
				for _, dv := range r.deliveries {
					s.d.release(dv, time.Time{}, "")
				}
				r.deliveries = nil
			}
			s.d.results <- r // has room for one of each source
		}
	}
}

func (s *source) stats() (brokers.Stats, error) {
	ctx, cancel := context.WithTimeout(s.d.feedCtx, callTimeout)
	defer cancel()
	st, err := s.Broker.Broker.Stats(ctx)
	s.heard("count its tasks", err)
	return st, err
}

// lease takes tasks. It is not cut short by the end of feeding: what has been leased by
// then should be given back at once, not when its lease ends.
func (s *source) lease(n int) ([]*delivery, error) {
	ctx, cancel := context.WithTimeout(s.d.ctx, callTimeout)
	defer cancel()
	began := time.Now()
	got, err := s.Broker.Broker.Lease(ctx, n, s.d.o.Lease)
	s.heard("lease tasks", err)
	if got = s.inTime(began, got); len(got) == 0 {
		return nil, err
	}
	all := make([]*delivery, 0, len(got))
	replaced, twice := 0, 0
	now := time.Now()
	s.mu.Lock()
	for i := range got {
		dv := &delivery{Delivery: got[i], source: s, since: now}
		old := s.held[dv.Task.ID]
		if old != nil && old.settling {
			replaced++
		} else if old != nil {
			// We still have it from a lease that we have lost without noticing, or the
			// broker delivers twice: one of the two must not run. It is not given back: if it
			// has ended, with a record, only leases that end by themselves tell whoever gets
			// it next that this is still the same life of the task.
			twice++
			continue
		}
		s.held[dv.Task.ID] = dv
		all = append(all, dv)
	}
	s.mu.Unlock()
	s.d.addHeld(len(all) - replaced)
	if twice > 0 {
		s.d.o.Logger.Warn("tasks were delivered that this host has already; they are left alone until their leases end", "broker", s.Name, "tasks", twice)
	}
	return all, err
}

// checked keeps those that are to be run, and settles the others.
func (s *source) checked(all []*delivery) (run []*delivery) {
	var doubtful, again []*delivery
	for _, dv := range all {
		switch {
		case dv.Cancel != nil:
			s.d.settleCancelled(dv, *dv.Cancel)
		case dv.Unreadable != nil:
			s.d.buryUnreadable(dv)
		case dv.Repeated:
			doubtful = append(doubtful, dv)
		case dv.Attempt > 1:
			again = append(again, dv)
		default:
			run = append(run, dv)
		}
	}
	s.d.recall(s.d.feedCtx, again)
	run = append(run, again...)
	if doubtful = s.withoutWished(doubtful); len(doubtful) > 0 {
		run = append(run, s.d.examine(s.d.feedCtx, doubtful)...)
	}
	return slices.DeleteFunc(run, func(dv *delivery) bool { return s.d.refused(dv) })
}

// heard takes in how a call of the broker went, and tells of changes.
func (s *source) heard(what string, err error) {
	if err != nil && s.d.ctx.Err() != nil {
		return // our own end
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if err == nil {
		s.lastPoll = now
		if s.failures > 0 {
			s.d.o.Logger.Info("broker is back", "broker", s.Name, "failures", s.failures)
		}
		s.failures, s.problem, s.retryAt = 0, "", time.Time{}
		return
	}
	if errors.Is(err, context.Canceled) {
		return
	}
	s.failures++
	wait := min(retryMost, retryFirst<<min(s.failures-1, 10))
	s.retryAt = now.Add(wait/2 + time.Duration(rand.Int64N(int64(wait/2)+1)))
	if s.failures == 1 || s.problem != err.Error() && s.failures < 100 || s.failures%100 == 0 {
		s.d.o.Logger.Error("broker fails; its tasks are safe there, it will be asked again", "broker", s.Name,
			"doing", what, "error", err, "failures", s.failures)
	}
	s.problem = err.Error()
}

// down reports whether the broker has failed and is not to be asked yet.
func (s *source) down(now time.Time) (until time.Time, is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retryAt, now.Before(s.retryAt)
}

func (s *source) status() SourceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SourceStatus{Name: s.Name, Held: len(s.held), LastPoll: s.lastPoll, Problem: s.problem}
}

// waitLoop waits for new work when the feed asks it to.
func (s *source) waitLoop(w brokers.Waiter) {
	for {
		select {
		case <-s.d.feedCtx.Done():
			return
		case <-s.waiting:
		}
		if err := w.Wait(s.d.feedCtx); err != nil {
			if s.d.feedCtx.Err() != nil {
				return
			}
			continue // the fallback is the feed's own polling
		}
		s.woke.Store(true)
		select {
		case s.d.woken <- struct{}{}:
		default:
		}
	}
}

// renew keeps the leases alive until the dispatcher closes.
func (s *source) renew() {
	every := time.NewTicker(max(s.d.o.Lease/6, 10*time.Millisecond))
	defer every.Stop()
	for {
		select {
		case <-s.d.ctx.Done():
			return
		case <-every.C:
		}
		now := time.Now()
		var due []*delivery
		s.mu.Lock()
		for _, dv := range s.held {
			switch {
			case dv.lost:
			case now.After(dv.Until):
				// Too late, be it that the broker could not be reached or that this
				// host stood still: somebody else may have it.
				dv.lost = true
				s.lostLocked(dv, "its lease ran out before it could be renewed")
			case dv.Until.Sub(now) < s.d.o.Lease*2/3:
				due = append(due, dv)
			}
		}
		s.mu.Unlock()
		s.extendAll(due)
	}
}

// extendAll renews leases, several batches at the same time: of a slow broker's many leases
// none may run out while others are renewed. Those that end first come first.
func (s *source) extendAll(due []*delivery) {
	slices.SortFunc(due, func(a, b *delivery) int { return a.Until.Compare(b.Until) })
	var calls errgroup.Group
	calls.SetLimit(extendCalls)
	for batch := range slices.Chunk(due, extendBatch) {
		calls.Go(func() error {
			s.extend(batch)
			return nil
		})
	}
	_ = calls.Wait()
}

func (s *source) extend(batch []*delivery) {
	ctx, cancel := context.WithTimeout(s.d.ctx, s.d.o.Lease/3)
	defer cancel()
	ds := make([]brokers.Delivery, len(batch))
	for i, dv := range batch {
		ds[i] = dv.Delivery
	}
	begin := time.Now()
	lost, err := s.Broker.Broker.Extend(ctx, s.d.o.Lease, ds)
	s.heard("renew leases", err)
	if err != nil {
		return // as long as the leases last, it is tried again
	}
	gone := map[task.ID]bool{}
	for _, id := range lost {
		gone[id] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, dv := range batch {
		switch {
		case !gone[dv.Task.ID]:
			dv.Until = begin.Add(s.d.o.Lease)
		case s.held[dv.Task.ID] == dv && !dv.lost && !dv.settling:
			dv.lost = true
			s.lostLocked(dv, "another host has its lease")
		}
	}
}

// lostLocked ends the run of a task that is no longer ours. s.mu is held.
func (s *source) lostLocked(dv *delivery, why string) {
	s.d.o.Meter.LeaseLost(s.Name)
	s.d.o.Logger.Warn("lease lost; the task is stopped here and runs again elsewhere", "task", dv.Task.ID, "type", dv.Task.Type, "broker", s.Name, "why", why)
	if job := dv.job; job != nil {
		// The pool may be waiting for us to take an outcome.
		s.d.outWG.Go(func() { s.d.o.Pool.Kill(job, process.ReasonLease, why) })
	}
}

// stillOurs reports whether the lease is ours, as far as can be known without asking.
func (s *source) stillOurs(dv *delivery, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !dv.lost && now.Before(dv.Until)
}

// forget takes deliveries out of the table: nothing more is to be done for them here.
func (s *source) forget(batch []brokers.Settlement) {
	n := 0
	s.mu.Lock()
	for _, st := range batch {
		if dv := s.held[st.ID]; dv != nil && dv.Token == st.Token {
			delete(s.held, st.ID)
			n++
		}
	}
	s.mu.Unlock()
	s.d.addHeld(-n)
}

// settleLoop carries out settlements in the order of their coming, as many at once as have
// gathered.
func (s *source) settleLoop() {
	failed := false // at the host's end: a broker that hangs is not waited for again and again
	for {
		batch, ok := s.settlements.take(batchMost)
		if !ok {
			return
		}
		s.mu.Lock()
		for _, st := range batch {
			if dv := s.held[st.ID]; dv != nil && dv.Token == st.Token {
				dv.settling = true
			}
		}
		s.mu.Unlock()
		if !failed {
			failed = !s.settle(batch)
		}
		s.forget(batch)
	}
}

// settle ends leases, trying again until the broker takes it or the host ends. The leases
// are renewed meanwhile. It reports whether the broker has taken it.
func (s *source) settle(batch []brokers.Settlement) bool {
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.d.ctx), callTimeout)
		lost, err := s.Broker.Broker.Settle(ctx, batch)
		cancel()
		s.heard("settle tasks", err)
		if err == nil {
			// After a failed try what it had done all the same is among the lost.
			if len(lost) > 0 && try == 0 {
				s.d.o.Logger.Warn("tasks were settled too late, their leases were lost; they may run again", "broker", s.Name, "tasks", fmt.Sprint(lost[:min(len(lost), 10)]), "count", len(lost))
			}
			return true
		}
		select {
		case <-s.d.ctx.Done():
			return false
		case <-time.After(min(retryMost, retryFirst<<min(try, 10))):
		}
	}
}
