package pool

import (
	"runtime"
	"slices"
	"time"
)

// running counts the workers that run tasks.
func (g *group) running() (n int) {
	for w := range g.busy {
		if w.busy {
			n++
		}
	}
	return n
}

// schedule hands waiting jobs to processes, and starts processes that are needed.
func (p *Pool) schedule(now time.Time) {
	if p.draining {
		for _, g := range p.groups {
			for _, w := range slices.Clone(g.idle) {
				p.retire(w)
			}
		}
		return
	}
	free := p.opts.Workers
	waiting := 0
	for _, g := range p.order {
		p.sendAway(g, now) // what waits here keeps others from being asked for
		running := g.running()
		free -= running
		g.refused = false
		g.waits = len(g.queue) > 0 && running < g.limit(p.opts.Workers) && (len(g.idle) > 0 || !now.Before(g.retryAt))
		if g.waits {
			waiting++
		}
	}
	starts := 0
	for _, g := range p.order {
		starts += g.starting
	}
	for free > 0 {
		g := p.neediest()
		if g == nil {
			break
		}
		if !p.employ(g, free) {
			g.refused = true
			continue
		}
		p.turns++
		g.turn = p.turns
		free--
	}
	if free <= 0 {
		p.makeWay()
	}
	// Windows are filled up only while nobody else waits for a worker: it comes free when
	// they are done.
	for _, g := range p.order {
		if others := waiting > 1 || waiting == 1 && !g.waits; free > 0 || !others {
			p.topUp(g)
		}
		p.spawn(g, free, &starts, now)
	}
}

// neediest returns the plugin that a free worker goes to: of those with jobs and an idle
// process the one with the fewest workers, of equals the one that has waited longest; nil
// if there is none.
func (p *Pool) neediest() (best *group) {
	fewest := 0
	for _, g := range p.order {
		running := g.running()
		if len(g.queue) == 0 || len(g.idle) == 0 || running >= g.limit(p.opts.Workers) || g.refused {
			continue
		}
		if best == nil || running < fewest || running == fewest && g.turn < best.turn {
			best, fewest = g, running
		}
	}
	return best
}

// makeWay has a worker come free for a plugin whose jobs wait, before the window is done of the
// process that has it: of the plugin that has most workers, and would still have as many as
// the one that waits. One at a time for each plugin.
func (p *Pool) makeWay() {
	for _, g := range p.order {
		running := g.running()
		if len(g.queue) == 0 || len(g.idle) == 0 || running >= g.limit(p.opts.Workers) || g.refused {
			continue
		}
		var from *worker
		most := running + 1
		for _, other := range p.order {
			if n, longest := other.staying(); n > most && longest != nil && longest.load > recallAfter {
				most, from = n, longest
			}
		}
		if from != nil {
			from.called = true
			from.recall()
		}
	}
}

// staying counts the workers of a plugin that will not come free soon, and returns the one
// with the most work ahead, of those that have some behind their heads.
func (g *group) staying() (n int, longest *worker) {
	for w := range g.busy {
		if !w.busy || w.slow || w.called {
			continue
		}
		n++
		if w.held > 1 && (longest == nil || w.load > longest.load) {
			longest = w
		}
	}
	return n, longest
}

// employ hands jobs of one plugin to one of its idle processes. A few are spread over the
// free workers, many fill the windows.
func (p *Pool) employ(g *group, free int) bool {
	for i := len(g.idle) - 1; i >= 0; i-- {
		w := g.idle[i]
		share := max(1, len(g.queue)/max(1, min(free, len(g.idle))))
		jobs, cost := g.next(0, 0, min(share, g.most(w)))
		if len(jobs) == 0 {
			continue
		}
		if !w.assign(jobs) {
			g.queue = append(jobs, g.queue...)
			continue
		}
		g.idle = slices.Delete(g.idle, i, i+1)
		g.busy[w] = struct{}{}
		w.busy, w.slow, w.called, w.held, w.load = true, false, false, len(jobs), cost
		return true
	}
	return false
}

// topUp hands jobs of one plugin to its busy processes, as far as their windows allow.
func (p *Pool) topUp(g *group) {
	if g.plugin.Fresh {
		return
	}
	for w := range g.busy {
		if len(g.queue) == 0 {
			return
		}
		if !w.busy || w.slow || w.called || w.gen != g.edition || g.removed {
			continue
		}
		if w.held > windowMax/2 || w.load > windowBudget/2 {
			continue // topping up one by one would make every message carry one task
		}
		jobs, cost := g.next(w.load, w.held, g.most(w))
		if len(jobs) == 0 {
			continue
		}
		if !w.assign(jobs) {
			g.queue = append(jobs, g.queue...)
			continue
		}
		w.held += len(jobs)
		w.load += cost
	}
}

// most is how many more tasks the process may be handed now.
func (g *group) most(w *worker) int {
	most := windowMax
	if g.plugin.MaxTasks > 0 {
		most = g.plugin.MaxTasks - w.served - w.held
	}
	if !w.proc.Progress().Kept {
		most = min(most, 1-w.held) // nobody could tell which of several to blame
	}
	return most
}

// spawn starts processes of one plugin: for jobs that wait while workers are free, and to
// keep its spares.
func (p *Pool) spawn(g *group, free int, starts *int, now time.Time) {
	if g.removed || now.Before(g.retryAt) {
		return
	}
	need := min(len(g.queue), max(free, 1), g.limit(p.opts.Workers)-g.running()) - len(g.idle)
	spares := g.plugin.Spares
	if g.plugin.Fresh && len(g.queue) > 0 {
		spares = max(spares, min(len(g.queue), p.opts.Workers))
	}
	need = max(need, spares-len(g.idle))
	if len(g.failures) > 0 {
		need = min(need, 1) // one try at a time
	}
	for g.starting < need && *starts < 2*runtime.GOMAXPROCS(0) {
		g.starting++
		*starts++
		spec, gen := g.plugin.Spec, g.edition
		p.wg.Go(func() {
			proc, err := p.opts.Launcher.Start(p.startCtx, spec)
			p.started <- start{g, gen, proc, err}
		})
	}
}

// publish tells how many more jobs are wanted.
func (p *Pool) publish() {
	inHand, excess, working := len(p.pending), 0, 0
	for _, g := range p.groups {
		n := len(g.queue)
		if most := g.limit(p.opts.Workers) * p.typical.room(); n > most {
			excess += n - most
			n = most
		}
		for w := range g.busy {
			n += w.held
			if w.busy {
				working++
			}
		}
		inHand += n
	}
	want := 0
	if !p.draining && excess < maxExcess {
		want = p.opts.Workers
		if p.typical.known {
			want *= p.typical.room() + p.typical.ahead()
		}
		full := want
		want = max(0, want-inHand)
		if want < full/2 && working >= p.opts.Workers {
			want = 0 // nobody waits: better to be asked for many at once, later
		}
	}
	if int64(want) != p.want.Swap(int64(want)) {
		select {
		case p.changed <- struct{}{}:
		default:
		}
	}
}
