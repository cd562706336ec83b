package process

import (
	"time"

	"github.com/backplane/leptir/host/process/sandbox"
)

// throttled is a process that is held to its cpu_max by the host.
type throttled struct {
	*sandbox.Throttle
	done <-chan struct{} // closed once it is dead
	good time.Duration   // for how long the last look was good
	next time.Time       // when that is over
}

// throttle holds all processes to their cpu_max, one goroutine for all, until the Launcher is
// closed. It is not the one that watches the other limits: that one may have much to read.
func (l *Launcher) throttle() {
	var all []*throttled
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.quit:
			return
		case t := <-l.throttling:
			all = append(all, t)
		case <-timer.C:
		}
		began := time.Now()
		next := time.Time{}
		kept := all[:0]
		for _, t := range all {
			if !t.look(began) {
				continue
			}
			kept = append(kept, t)
			if next.IsZero() || t.next.Before(next) {
				next = t.next
			}
		}
		clear(all[len(kept):])
		all = kept
		if len(all) == 0 {
			timer.Stop()
			continue
		}
		// However many processes there are, looking takes a fifth of the time at most.
		timer.Reset(max(time.Until(next), 4*time.Since(began)))
	}
}

// look looks at the process if it is time, and reports whether there is more to come. What is due
// soon is looked at now, so that processes come to be looked at together.
func (t *throttled) look(now time.Time) bool {
	select {
	case <-t.done:
		return false
	default:
	}
	if t.next.Sub(now) > t.good/4 {
		return true
	}
	t.good = t.Look(now)
	t.next = now.Add(t.good)
	return t.good > 0
}

// beThrottled has a process held to its cpu_max while it lives.
func (l *Launcher) beThrottled(r *groupRunner) {
	t := r.cell.Throttle()
	if t == nil {
		return
	}
	select {
	case l.throttling <- &throttled{Throttle: t, done: r.done}:
	case <-r.done:
	}
}
