// Package dispatch owns a task's way through a host: it draws the broker that the next
// tasks come from, leases them, keeps their leases alive, hands them to the pool, and turns
// what came of them into records and settlements: record first, then ack. It knows nothing
// of how a process is made.
package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

// Broker is a broker as configured.
type Broker struct {
	Name     string
	Kind     string
	Priority int
	// CountFor is how long the number of waiting tasks is remembered.
	CountFor time.Duration
	// DeadRetention is how long dead letters are kept; 0 is for ever.
	DeadRetention time.Duration
	Broker        brokers.Broker
}

// Store is a store of records as configured.
type Store struct {
	Name string
	// Drop says that a task is settled even if this store could not take its record;
	// else the settlement waits until it can.
	Drop  bool
	Store metastore.Store
}

// Runner runs jobs; *pool.Pool is one.
type Runner interface {
	Submit([]*pool.Job) error
	Outcomes() <-chan []pool.Outcome
	Want() int
	Changed() <-chan struct{}
	Kill(j *pool.Job, reason process.Reason, detail string)
	Cancel(j *pool.Job, grace time.Duration, reason string)
	Drain()
	KillAll(reason process.Reason, detail string)
}

// Options configure a Dispatcher.
type Options struct {
	Brokers []Broker
	Stores  []Store
	Pool    Runner
	Logger  *slog.Logger
	// Host names this host in records.
	Host string
	// Lease is how long a lease lasts without being renewed.
	Lease time.Duration
	// EmptySleep is the sleep when every queue is empty, BusySleep when all workers are
	// busy; new work or a free worker ends either at once.
	EmptySleep, BusySleep time.Duration
	// TimeLimit returns the limit of a task that brings none; 0 is none.
	TimeLimit func(taskType string) time.Duration
	// MaxAttempts is how often a task is tried, at least 1; MaxCrashes how many processes
	// and hosts it may take with it, 3 if it is less than 1.
	MaxAttempts, MaxCrashes int
	// MaxHeld bounds the tasks that are leased and not settled, however fast they run;
	// 4096 if it is less than 1.
	MaxHeld int
	// Check reports what is wrong with a task's parameters, before it runs; nil: nothing is.
	Check func(t *task.Task) error
	// Revertible reports whether a task of that type that has failed for good may have to
	// be undone; Pusher queues the tasks that undo others. Nil: none has to be.
	Revertible func(taskType string) bool
	Pusher     *Pusher
	// Reports is told of every error and exception of every task; nil: nobody is.
	Reports ErrorReporter
	// Backoff returns how long to wait before the attempt after the given one.
	Backoff func(attempt int) time.Duration
	// Meter is told of what is counted; nil: nobody is.
	Meter Meter
	// Retry returns how tasks of a type are retried; nil: all by MaxAttempts and Backoff.
	Retry func(taskType string) Retry
}

// defaultMaxCrashes is the MaxCrashes of who says none.
const defaultMaxCrashes = 3

// defaultMaxHeld is the MaxHeld of who says none. More brought no speed, and takes memory.
const defaultMaxHeld = 4096

// Dispatcher feeds a pool from brokers. New starts it; it ends by Drain, then Close.
type Dispatcher struct {
	o       Options
	sources []*source
	stores  *recorder
	wg      sync.WaitGroup // feed, renewers
	outWG   sync.WaitGroup // outcomes, settlers

	feedCtx  context.Context // ends when feeding does
	stopFeed context.CancelFunc
	ctx      context.Context // ends with Close
	stop     context.CancelFunc
	results  chan result   // of what sources were asked
	woken    chan struct{} // a waiter has seen new work
	room     chan struct{} // tasks have been settled while the feed could hold no more
	cramped  atomic.Bool   // the feed waits for that
	feedDone chan struct{}
	pings    chan struct{} // taken by the feed to show that it lives
	tuned    atomic.Pointer[Tuning]

	mu       sync.Mutex
	held     int                  // unsettled deliveries of all sources
	idle     chan struct{}        // closed when held is 0, while somebody waits for that
	unserved map[string]*park     // by type
	reported map[string]time.Time // types of which it was reported that they are not served

	telling telling
	inPool  atomic.Int64 // jobs submitted whose outcomes have not been received
}

// New starts a dispatcher.
func New(o Options) *Dispatcher {
	o.MaxAttempts = max(1, o.MaxAttempts)
	if o.MaxCrashes < 1 {
		o.MaxCrashes = defaultMaxCrashes
	}
	if o.MaxHeld < 1 {
		o.MaxHeld = defaultMaxHeld
	}
	if o.Meter == nil {
		o.Meter = noMeter{}
	}
	if o.Backoff == nil {
		o.Backoff = DefaultBackoff
	}
	if o.Check == nil {
		o.Check = func(*task.Task) error { return nil }
	}
	if o.Revertible == nil {
		o.Revertible = func(string) bool { return false }
	}
	if o.TimeLimit == nil {
		o.TimeLimit = func(string) time.Duration { return 0 }
	}
	d := &Dispatcher{o: o, results: make(chan result, len(o.Brokers)), woken: make(chan struct{}, 1), room: make(chan struct{}, 1), pings: make(chan struct{}),
		feedDone: make(chan struct{}), unserved: map[string]*park{}}
	d.ctx, d.stop = context.WithCancel(context.Background())
	d.feedCtx, d.stopFeed = context.WithCancel(d.ctx)
	d.stores = newRecorder(d.ctx, o.Stores, o.Logger)
	for _, b := range o.Brokers {
		s := newSource(d, b)
		d.sources = append(d.sources, s)
		d.wg.Go(s.serve)
		d.wg.Go(s.renew)
		d.wg.Go(s.watchCancelled)
		if b.DeadRetention > 0 {
			d.wg.Go(s.purgeLoop)
		}
		d.outWG.Go(s.settleLoop)
		if w, ok := brokers.Ability[brokers.Waiter](b.Broker); ok {
			d.wg.Go(func() { s.waitLoop(w) })
		}
	}
	d.wg.Go(d.feed)
	d.wg.Go(d.tell)
	d.outWG.Go(d.receive)
	return d
}

// Drain ends the feeding, gives back what has not begun, and waits for the running tasks
// until ctx ends; those that still run then are killed and given back with their attempt
// uncounted. It returns when every task is settled, or grace after ctx's end at the latest.
func (d *Dispatcher) Drain(ctx context.Context, grace time.Duration) {
	d.stopFeed()
	<-d.feedDone
	d.o.Pool.Drain()
	select {
	case <-d.settled():
		return
	case <-ctx.Done():
	}
	d.o.Pool.KillAll(process.ReasonShutdown, "")
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-d.settled():
	case <-timer.C:
		d.o.Logger.Warn("tasks could not be settled in time; their leases end by themselves", "tasks", d.Held())
	}
}

// Close ends the dispatcher. The pool must have been closed before, so that no outcome is
// under way.
func (d *Dispatcher) Close() {
	d.stopFeed()
	d.stop()
	d.wg.Wait()
	d.stores.close()
	for _, s := range d.sources {
		s.settlements.close()
	}
	d.outWG.Wait()
}

// Held returns how many tasks this host has leased and not settled.
func (d *Dispatcher) Held() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held
}

// settled returns a channel that is closed once nothing is held.
func (d *Dispatcher) settled() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.idle == nil {
		d.idle = make(chan struct{})
		if d.held == 0 {
			close(d.idle)
		}
	}
	return d.idle
}

func (d *Dispatcher) addHeld(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held += n
	if n < 0 && d.cramped.Load() {
		select {
		case d.room <- struct{}{}:
		default:
		}
	}
	if d.held == 0 && d.idle != nil {
		select {
		case <-d.idle:
		default:
			close(d.idle)
		}
	}
}

// InPool returns how many jobs the pool has been handed and has not returned.
func (d *Dispatcher) InPool() int { return int(d.inPool.Load()) }

// Stores returns the stores' present state, in the order of the configuration.
func (d *Dispatcher) Stores() []StoreStatus { return d.stores.status() }

// SourceStatus is a look at one broker, as this host sees it.
type SourceStatus struct {
	Name     string    `json:"name"`
	Held     int       `json:"held"`
	LastPoll time.Time `json:"last_poll,omitzero"` // last successful call
	Problem  string    `json:"problem,omitempty"`
}

// Status returns the sources' present state, in the order of the configuration.
func (d *Dispatcher) Status() []SourceStatus {
	var all []SourceStatus
	for _, s := range d.sources {
		all = append(all, s.status())
	}
	return all
}

// park is how long tasks of a type that nobody serves are given back for.
type park struct {
	wait   time.Duration
	logged time.Time
}

const (
	parkFirst = time.Second
	parkMost  = 10 * time.Second
)

// parkUntil returns when a task of an unserved type is due again.
func (d *Dispatcher) parkUntil(t *task.Task, reason string, now time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.unserved[t.Type]
	if p == nil {
		if len(d.unserved) > 10000 { // types are the producers' to choose
			clear(d.unserved)
		}
		p = &park{wait: parkFirst}
		d.unserved[t.Type] = p
	}
	if now.Sub(p.logged) > time.Minute {
		p.logged = now
		d.o.Logger.Warn("tasks wait for their plugin", "type", t.Type, "reason", reason, "task", t.ID)
	}
	until := now.Add(p.wait)
	p.wait = min(parkMost, p.wait+p.wait/2)
	return until
}

// PluginsChanged says that types may be served from now on that were not before.
func (d *Dispatcher) PluginsChanged() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.unserved)
}
