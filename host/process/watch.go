package process

import (
	"time"

	"github.com/backplane/leptir/host/process/sandbox"
)

const (
	// sweepInterval is how often orphans are looked for while no process has died.
	sweepInterval = time.Second
	// huntInterval is the same as long as there are some that do not want to die.
	huntInterval = 2 * time.Millisecond
)

// watched is a process whose limits are looked at.
type watched struct {
	*sandbox.Sampler
	process *Process
	next    time.Time
}

// watch looks at the limits of all processes that live, one goroutine for all, and after
// what they have orphaned, until the Launcher is closed.
func (l *Launcher) watch() {
	var all []*watched
	timer := time.NewTimer(sweepInterval)
	defer timer.Stop()
	interval := sweepInterval
	for swept := time.Now(); ; {
		select {
		case <-l.quit:
			return
		case w := <-l.watching:
			w.next = time.Now().Add(w.Interval())
			all = append(all, w)
		case <-timer.C:
		}
		began := time.Now()
		if began.Sub(swept) >= interval {
			interval = sweepInterval
			if sandbox.Sweep() > 0 {
				interval = huntInterval
			}
			swept = began
		}
		next := swept.Add(interval)
		kept := all[:0]
		for _, w := range all {
			select {
			case <-w.process.Done():
				continue
			default:
			}
			w.look(began)
			kept = append(kept, w)
			if w.next.Before(next) {
				next = w.next
			}
		}
		clear(all[len(kept):])
		all = kept
		// However many processes there are, looking takes a fifth of the time at most.
		timer.Reset(max(time.Until(next), 4*time.Since(began)))
	}
}

// look kills the process if it has exceeded a limit. What is due soon is looked at now, so that
// all processes come to be looked at together: each look by itself would wake the host.
func (w *watched) look(now time.Time) {
	interval := w.Interval()
	if now.Before(w.next.Add(-interval / 2)) {
		return
	}
	if b := w.Look(now); b != nil {
		w.process.Kill(reasonOf(b), b.Detail)
	}
	w.next = now.Add(interval)
}

func reasonOf(b *sandbox.Breach) Reason {
	if b.Memory {
		return ReasonMemory
	}
	return ReasonLimit
}
