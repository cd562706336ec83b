package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/backplane/leptir/torture/journal"
)

// shown bounds what is printed of each sort of finding.
const shown = 20

// report prints what the run has shown.
func (r *run) report(e *evidence, v *verdict, f *figures) {
	w := r.out
	carried, skipped, stalls, slow := 0, 0, 0, 0
	for i := range e.struck {
		if e.struck[i].Kind == machineStall {
			stalls++
		} else if e.struck[i].Kind == serverSlow {
			slow++
		} else if e.struck[i].Skipped == "" {
			carried++
		} else {
			skipped++
		}
	}
	fmt.Fprintf(w, "\nbroker %s, seed %d: %d hosts with %d workers, lease %v, %d faults carried out (%d had nothing to strike); the machine itself stood still %d times, the queue was slow by itself %d times\n",
		r.o.broker, r.o.seed, r.o.hosts, r.o.workers, r.o.lease, carried, skipped, stalls, slow)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name string, n int, more string) { fmt.Fprintf(t, "  %s\t%d\t%s\n", name, n, more) }
	line("pushed", v.pushed, fmt.Sprintf("and %d by other tasks; %d calls of the producer failed and were tried again", v.children, r.producer.errors))
	line("recorded", v.recorded, fmt.Sprintf("in each of %v", e.stores))
	line("lost", len(v.lost), "neither recorded nor queued")
	line("stuck", len(v.stuck), "still queued or leased at the end")
	line("wrongly recorded", len(v.wrong), "")
	line("dead letters", v.deadLetters, fmt.Sprintf("%d that should not be", len(v.wrongDead)))
	line("runs", v.runs, fmt.Sprintf("%d asked for by a failure, %d without an end", v.retries, v.died))
	line("run more than once", len(v.extra), fmt.Sprintf("%d in flight at the faults (%d held by hosts at their beginnings); %d without a known cause; %d while the run before went on",
		v.inFlight, v.held, v.unexplained(), v.overlaps))
	_ = t.Flush()
	r.causes(v)
	for _, part := range []struct {
		name  string
		found []string
	}{{"lost", v.lost}, {"stuck", v.stuck}, {"wrongly recorded", v.wrong}, {"dead letters that should not be", v.wrongDead}, {"problems", r.problems}} {
		if len(part.found) > 0 {
			fmt.Fprintf(w, "%s:\n", part.name)
			for _, s := range part.found[:min(shown, len(part.found))] {
				fmt.Fprintf(w, "  %s\n", s)
			}
			if n := len(part.found) - shown; n > 0 {
				fmt.Fprintf(w, "  and %d more\n", n)
			}
		}
	}
	recovery(w, e)
	if len(f.host) > 0 {
		most := slices.Max(f.host).Round(time.Millisecond)
		fmt.Fprintf(w, "kill -9 of a host, until its tasks run elsewhere: p50 %v, p99 %v, max %v of %d: a lease (%v) and %v\n",
			percentile(f.host, 50), percentile(f.host, 99), most, len(f.host), r.o.lease, most-r.o.lease)
	}
	if f.spoilt > 0 {
		fmt.Fprintf(w, "%d more rounds of measurements are left out, since the machine stood still\n", f.spoilt)
	}
	if len(f.plugin) > 0 {
		fmt.Fprintf(w, "kill -9 of a plugin process, until its task runs again: p50 %d ms, p99 %d ms, max %d ms of %d\n", percentile(f.plugin, 50).Milliseconds(), percentile(f.plugin, 99).Milliseconds(), slices.Max(f.plugin).Milliseconds(), len(f.plugin))
	}
	var total time.Duration
	for _, name := range slices.Sorted(maps.Keys(r.took)) {
		fmt.Fprintf(w, "%s %v, ", name, r.took[name].Round(100*time.Millisecond))
		total += r.took[name]
	}
	fmt.Fprintf(w, "together %v\n", total.Round(100*time.Millisecond))
}

// causes prints why tasks ran more than once.
func (r *run) causes(v *verdict) {
	count := map[string]int{}
	for _, x := range v.extra {
		count[x.cause]++
	}
	for _, cause := range slices.Sorted(maps.Keys(count)) {
		name := cause
		if name == "" {
			name = "UNKNOWN CAUSE"
		}
		fmt.Fprintf(r.out, "    %4d %s\n", count[cause], name)
	}
	n := 0
	for _, x := range v.extra {
		if x.cause == "" || r.o.verbose {
			if n++; n <= 5*shown {
				fmt.Fprintf(r.out, "      %s (%s): %s\n", x.run.Task, x.cause, story([]journal.Run{x.before, x.run}))
			}
		}
	}
}

// recovery prints, for each kind of fault, how long it took from its end to the next task
// that ended well on the hosts that it had struck.
func recovery(w io.Writer, e *evidence) {
	var ends []journal.Run
	for _, run := range e.runs {
		if run.Outcome == journal.OK {
			ends = append(ends, run)
		}
	}
	slices.SortFunc(ends, func(a, b journal.Run) int { return a.End.Compare(b.End) })
	took := map[Kind][]time.Duration{}
	none := map[Kind]int{}
	for i := range e.struck {
		s := &e.struck[i]
		if s.Skipped != "" {
			continue
		}
		at, _ := slices.BinarySearchFunc(ends, s.End, func(r journal.Run, t time.Time) int { return r.End.Compare(t) })
		found := false
		for _, run := range ends[at:] {
			if s.hits(run.Host) {
				took[s.Kind] = append(took[s.Kind], run.End.Sub(s.End))
				found = true
				break
			}
		}
		if !found {
			none[s.Kind]++
		}
	}
	fmt.Fprintln(w, "from the end of a fault to the next task done there:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, k := range kinds {
		d := took[k.kind]
		if len(d)+none[k.kind] == 0 {
			continue
		}
		more := ""
		if none[k.kind] > 0 {
			more = fmt.Sprintf("after %d more there was none left", none[k.kind])
		}
		if len(d) == 0 {
			fmt.Fprintf(t, "  %s\t0 faults\t\t\t%s\n", k.kind, more)
			continue
		}
		fmt.Fprintf(t, "  %s\t%d faults\tp50 %v\tmax %v\t%s\n", k.kind, len(d), percentile(d, 50), slices.Max(d).Round(time.Millisecond), more)
	}
	_ = t.Flush()
}

func percentile(all []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)].Round(time.Millisecond)
}
