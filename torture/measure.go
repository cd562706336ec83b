package main

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/backplane/leptir/task"
	"github.com/backplane/leptir/torture/journal"
)

// figures are what the measurements before the faults gave.
type figures struct {
	host   []time.Duration // from SIGKILL of a host to the next run of a task that it ran
	plugin []time.Duration // from SIGKILL of a plugin process to the next run of its task
	spoilt int             // rounds that were done again, since the machine stood still
}

// mostRounds is how often a round is done at most until the machine does not stand still.
const mostRounds = 5

// slack is how much later than at the end of a lease a task of a dead host may run again.
const slack = time.Second

// busy is what the short form, one of many tests on a busy machine, adds.
const busy = 15 * time.Second

// good reports whether the tasks of dead hosts ran again in time.
func (f *figures) good(o *options) bool {
	limit := o.lease + slack
	if o.short {
		limit += busy
	}
	return len(f.host) == 0 || slices.Max(f.host) <= limit
}

// measure kills hosts and plugin processes while nothing else goes wrong, and measures how
// long it takes until their tasks run again.
func (r *run) measure(ctx context.Context) (*figures, error) {
	f := &figures{}
	for i := range r.o.measure {
		if err := r.rounds(ctx, f, fmt.Sprintf("mh%d", i), true, &f.host); err != nil {
			return f, err
		}
		for j := range r.o.kills {
			if err := r.rounds(ctx, f, fmt.Sprintf("mp%d-%d", i, j), false, &f.plugin); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

// rounds does a round until one tells of hosts and queue, and not of a busy machine.
func (r *run) rounds(ctx context.Context, f *figures, name string, hostToo bool, took *[]time.Duration) error {
	for try := 1; ; try++ {
		var those []time.Duration
		began := time.Now()
		err := r.round(ctx, fmt.Sprintf("%s-%d", name, try), hostToo, &those)
		if try == mostRounds || !r.striker.stalled(began) {
			*took = append(*took, those...)
			return err
		}
		f.spoilt++
	}
}

// round has tasks run in half of the places, and kills the host that runs most of them, or only its
// busy processes.
func (r *run) round(ctx context.Context, name string, hostToo bool, took *[]time.Duration) error {
	orders := make([]order, len(r.hosts)*r.o.workers/2)
	for i := range orders {
		o := order{id: task.ID(fmt.Sprintf("%s-%d", name, i)), kind: "slow"}
		o.params.Milliseconds, o.params.Sum = 1500, journal.Sum("")
		orders[i] = o
	}
	r.orders = append(r.orders, orders...)
	if err := r.producer.run(ctx, orders, 0); err != nil {
		return err
	}
	ran := func() map[string]journal.Run { // the latest run of each task
		latest := map[string]journal.Run{}
		lines, _ := journal.Read(r.settings.journal)
		runs, _ := journal.Runs(lines)
		for _, run := range runs {
			if old, ok := latest[run.Task]; (!ok || run.Begin.After(old.Begin)) && len(run.Task) > len(name) && run.Task[:len(name)+1] == name+"-" {
				latest[run.Task] = run
			}
		}
		return latest
	}
	caught, victim := map[string]journal.Run{}, 0
	for began := time.Now(); len(caught) == 0; {
		if time.Since(began) > 30*time.Second || !sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("no host runs a task")
		}
		all := ran()
		if len(all) < len(orders)/2 {
			continue
		}
		for i, h := range r.hosts {
			those := map[string]journal.Run{}
			for id, run := range all {
				if run.Host == h.name && run.Outcome == "" {
					those[id] = run
				}
			}
			if len(those) > len(caught) {
				caught, victim = those, i
			}
		}
	}
	h := r.hosts[victim]
	killed := time.Now()
	strike := struck{Fault: Fault{Host: victim, Kind: PluginKill}, Begin: killed}
	if hostToo {
		strike.Kind = HostKill
		if err := h.kill(); err != nil {
			return err
		}
	} else {
		for _, run := range caught {
			_ = syscall.Kill(run.PID, syscall.SIGKILL)
		}
	}
	var err error
	for id, before := range caught {
		for err == nil {
			if now := ran()[id]; now.Begin.After(before.Begin) {
				*took = append(*took, now.Begin.Sub(killed))
				break
			}
			if time.Since(killed) > 10*r.o.lease || !sleep(ctx, 10*time.Millisecond) {
				err = fmt.Errorf("task %s of %s has not run again", id, h.name)
			}
		}
	}
	strike.End = time.Now()
	r.early = append(r.early, strike)
	if hostToo {
		if err := h.start(); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	r.settle(ctx)
	return r.up(ctx)
}

// up waits until all hosts have started: each has processes that can run tasks.
func (r *run) up(ctx context.Context) error {
	for end := time.Now().Add(30 * time.Second); ; {
		left := 0
		for _, h := range r.hosts {
			if len(h.plugins()) == 0 {
				left++
			}
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(end) || !sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%d hosts are not up after 30 s", left)
		}
	}
}
