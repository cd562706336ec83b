package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
	"github.com/backplane/leptir/torture/journal"
)

// drainPatience is how much longer than its shutdown timeout a host may take to end: it has
// 5 s to settle what it has killed, and its parts have time limits of their own.
const drainPatience = 30 * time.Second

// options are what a run is to be.
type options struct {
	broker   string
	tasks    int
	faults   int
	seed     uint64
	hosts    int
	workers  int
	lease    time.Duration
	span     time.Duration // of the faults
	measure  int           // rounds of the measurements beforehand
	kills    int           // of plugins in each round
	patience time.Duration // for the queue to become empty afterwards
	race     bool          // hosts are built with the race detector
	clocks   bool          // hosts can have wrong clocks
	keep     bool          // leave the run's folder
	verbose  bool
	level    string // of the hosts' logs
	short    bool   // beside other tests, on a busy machine
}

// run is one run of the torture.
type run struct {
	o        options
	out      io.Writer
	dir      string
	spawn    spawner
	settings hostSettings
	hosts    []*host
	backend  *backend
	net      *network
	producer *producer
	striker  *striker
	programs *programs
	orders   []order
	early    []struck // faults of the measurements
	took     map[string]time.Duration

	mu       sync.Mutex
	problems []string // what should not happen, beside what the verdict says
}

// problem notes something that should not happen.
func (r *run) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, text)
	fmt.Fprintf(r.out, "%s PROBLEM %s\n", time.Now().Format("15:04:05.000"), text)
}

func (r *run) verbose(format string, args ...any) {
	if r.o.verbose {
		r.mu.Lock()
		defer r.mu.Unlock()
		fmt.Fprintf(r.out, "%s %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
	}
}

// torture does one run with its files in a folder of its own, and reports whether it was
// clean.
func torture(ctx context.Context, o options, programs *programs, dir string, out io.Writer) (clean bool, err error) {
	r := &run{o: o, out: out, dir: dir, programs: programs, spawn: newSpawner(), net: newNetwork(), took: map[string]time.Duration{}}
	defer r.end()
	if err := r.prepare(ctx); err != nil {
		return false, err
	}
	r.striker = &striker{r: r}
	watching, stop := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer stop()
	watchers.Go(func() { r.striker.stalls(watching) })
	watchers.Go(func() { r.striker.slowness(watching) })
	began := time.Now()
	figures, err := r.measure(ctx)
	if err != nil {
		return false, fmt.Errorf("measure: %w", err)
	}
	r.took["measuring"] = time.Since(began)
	if err := r.work(ctx); err != nil {
		return false, err
	}
	e, err := r.evidence(ctx)
	if err != nil {
		return false, err
	}
	r.stopHosts()
	v := verify(e)
	r.report(e, v, figures)
	clean = v.good() && len(r.problems) == 0 && figures.good(&r.o)
	if !clean || o.keep {
		err = e.save(filepath.Join(dir, "evidence.json"))
	}
	return clean, err
}

// prepare starts the servers and the hosts.
func (r *run) prepare(ctx context.Context) error {
	began := time.Now()
	r.settings = hostSettings{plugins: filepath.Join(r.dir, "plugins"), journal: filepath.Join(r.dir, "journal"), run: os.Getenv(envRun),
		workers: r.o.workers, lease: r.o.lease, drain: r.o.lease / 2, level: r.o.level}
	for _, d := range []string{r.settings.plugins, r.settings.journal, filepath.Join(r.dir, "data")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	good, err := os.ReadFile(r.programs.plugins[0])
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(r.settings.plugins, "torture"), good); err != nil {
		return err
	}
	open := openers[r.o.broker]
	if open == nil {
		return fmt.Errorf("there is no broker %q; the brokers are sqlite, redis, mongodb, sqs", r.o.broker)
	}
	s := &surroundings{dir: filepath.Join(r.dir, "data"), hosts: r.o.hosts, net: r.net, mount: mayMount()}
	if r.backend, err = open(ctx, s); err != nil {
		return fmt.Errorf("%s: %w", r.o.broker, err)
	}
	for i := range r.o.hosts {
		h := &host{name: hostName(i), dir: filepath.Join(r.dir, hostName(i)), program: r.programs.host, journal: r.settings.journal, spawn: r.spawn, problem: r.problem}
		if err := h.configure(&r.settings, r.backend.blocks(i)); err != nil {
			return err
		}
		if r.o.clocks {
			if h.clock, err = newClock(filepath.Join(h.dir, "clock")); err != nil {
				return err
			}
		}
		r.hosts = append(r.hosts, h)
		if err := h.start(); err != nil {
			return err
		}
	}
	r.producer = newProducer(r.backend.producer, func(ctx context.Context) int64 { return r.stats(ctx).Ready })
	err = r.up(ctx)
	r.took["starting"] = time.Since(began)
	return err
}

// work pushes the tasks while faults strike, and waits until the queue has nothing more to
// do.
func (r *run) work(ctx context.Context) error {
	orders := workload(r.o.seed, r.o.tasks)
	r.orders = append(r.orders, orders...)
	plan := newPlan(r.o.seed, r.o.faults, r.o.hosts, r.o.lease, r.o.span, r.has)
	began := time.Now()
	var wg sync.WaitGroup
	pushing := make(chan error, 1)
	wg.Go(func() { pushing <- r.producer.run(ctx, orders, r.o.span) })
	wg.Go(func() { r.striker.strike(ctx, plan) })
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(ctx, stop) })
	wg.Wait()
	close(stop)
	watching.Wait()
	r.took["faults"] = time.Since(began)
	if err := <-pushing; err != nil {
		return err
	}
	began = time.Now()
	r.settle(ctx)
	r.took["settling"] = time.Since(began)
	return ctx.Err()
}

// has reports whether this run can have faults of a kind.
func (r *run) has(k Kind) bool {
	return r.backend.has(k) && (k != HostClock || r.o.clocks)
}

// watch tells now and then how far the run is.
func (r *run) watch(ctx context.Context, stop chan struct{}) {
	every := time.NewTicker(10 * time.Second)
	defer every.Stop()
	for {
		select {
		case <-stop:
			return
		case <-every.C:
		}
		st := r.stats(ctx)
		r.producer.mu.Lock()
		pushed := len(r.producer.pushed)
		r.producer.mu.Unlock()
		fmt.Fprintf(r.out, "%s %s: pushed %d of %d; faults %d of %d; queue: ready %d, scheduled %d, leased %d, dead %d\n", time.Now().Format("15:04:05"),
			r.o.broker, pushed, len(r.orders), r.striker.count(), r.o.faults, st.Ready, st.Scheduled, st.Leased, st.Dead)
	}
}

// stats asks the queue, straight; all -1 if it does not answer.
func (r *run) stats(ctx context.Context) brokers.Stats {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	st, err := r.backend.broker.Stats(ctx)
	if err != nil {
		return brokers.Stats{Ready: -1, Scheduled: -1, Leased: -1, Dead: -1}
	}
	return st
}

// leased returns how many tasks hosts hold, 0 where the queue does not say.
func (r *run) leased(ctx context.Context) int64 {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	st, err := r.backend.broker.Stats(ctx)
	if err != nil {
		return 0
	}
	return st.Leased
}

// settle waits until the queue is empty but for dead letters, three times in a row, since
// a running task may push another.
func (r *run) settle(ctx context.Context) {
	end := time.Now().Add(r.o.patience)
	for empty := 0; empty < 3; {
		st := r.stats(ctx)
		if st.Ready == 0 && st.Scheduled == 0 && st.Leased == 0 {
			empty++
		} else {
			empty = 0
		}
		if time.Now().After(end) {
			r.problem("after %v without faults the queue is not empty: %+v", r.o.patience, st)
			return
		}
		if !sleep(ctx, 300*time.Millisecond) {
			return
		}
	}
}

// evidence gathers what the journals, the stores and the queue say.
func (r *run) evidence(ctx context.Context) (*evidence, error) {
	lines, err := journal.Read(r.settings.journal)
	if err != nil {
		return nil, err
	}
	e := &evidence{orders: r.orders, pushed: r.producer.pushed, again: r.producer.again, asked: r.producer.asked, noIDs: r.o.broker == "sqs", file: r.o.broker == "sqlite", struck: append(r.early, r.striker.all()...), lease: r.o.lease,
		queued: map[task.ID]brokers.Item{}, dead: map[task.ID][]brokers.Item{}}
	if e.runs, err = journal.Runs(lines); err != nil {
		return nil, err
	}
	if r.o.short {
		e.slow = map[task.ID][]time.Time{}
		for _, h := range r.hosts {
			if err := h.lostLeases(e.slow); err != nil {
				return nil, err
			}
		}
	}
	ids := make([]task.ID, 0, len(r.orders))
	for i := range r.orders {
		ids = append(ids, r.orders[i].id)
		if c := r.orders[i].params.Child; c != "" {
			ids = append(ids, task.ID(c))
		}
	}
	for _, s := range r.backend.stores {
		known := map[task.ID]task.Record{}
		for i := 0; i < len(ids); i += 100 {
			call, cancel := soon(ctx)
			recs, err := s.Get(call, ids[i:min(i+100, len(ids))])
			cancel()
			if err != nil {
				return nil, fmt.Errorf("read records of %s: %w", s.name, err)
			}
			for _, rec := range recs {
				known[rec.ID] = rec
			}
		}
		e.stores, e.records = append(e.stores, s.name), append(e.records, known)
	}
	inspector, ok := brokers.Ability[brokers.Inspector](r.backend.broker)
	if !ok {
		return nil, errors.New("the broker cannot list its tasks")
	}
	for _, state := range []brokers.State{brokers.StateReady, brokers.StateScheduled, brokers.StateLeased, brokers.StateDead} {
		items, err := list(ctx, inspector, state)
		if err != nil && state != brokers.StateDead {
			// Some cannot list what waits; the counts, which are 0 at the end, must do.
			if st := r.stats(ctx); st.Ready+st.Scheduled+st.Leased != 0 {
				e.queued[task.ID(fmt.Sprintf("(some task of %+v)", st))] = brokers.Item{State: state}
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list tasks that are %s: %w", state, err)
		}
		for _, item := range items {
			if state == brokers.StateDead {
				e.dead[item.ID] = append(e.dead[item.ID], item)
			} else {
				e.queued[item.ID] = item
			}
		}
	}
	return e, nil
}

// save writes down what is gone when the servers are: records and dead letters.
func (e *evidence) save(file string) error {
	b, err := json.Marshal(map[string]any{"records": e.records, "dead": e.dead, "queued": e.queued, "struck": e.struck})
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

func list(ctx context.Context, in brokers.Inspector, state brokers.State) (all []brokers.Item, err error) {
	for cursor := ""; ; {
		call, cancel := soon(ctx)
		items, next, err := in.List(call, state, cursor, 500)
		cancel()
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if cursor = next; next == "" {
			return all, nil
		}
	}
}

// stopHosts ends the hosts in good order, and looks that nothing of them is left.
func (r *run) stopHosts() {
	var wg sync.WaitGroup
	for _, h := range r.hosts {
		wg.Go(func() {
			if err := h.drain(r.settings.drain + drainPatience); err != nil {
				r.problem("at the end: %v", err)
			}
		})
	}
	wg.Wait()
}

// end ends whatever still runs.
func (r *run) end() {
	for _, h := range r.hosts {
		h.signal(syscall.SIGCONT)
		_ = h.kill()
	}
	if r.backend != nil {
		r.backend.close()
	}
	r.net.close()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := marked(envJournal + "=" + r.settings.journal)
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			for _, pid := range left {
				fmt.Fprintf(r.out, "process %d was left behind, and is killed: %s\n", pid, command(pid))
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			break
		}
	}
	close(r.spawn)
}
