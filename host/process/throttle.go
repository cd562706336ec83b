package process

import "time"

const (
	// throttleQueue is how many processes may have been started that are not looked at yet: starts
	// do not wait for those who are just being stopped.
	throttleQueue = 256
	// throttleRest is the longest that nobody is looked at because it took so long.
	throttleRest = 20 * time.Millisecond
)

// throttled is a process that is held to its cpu_max by the host.
type throttled struct {
	look func(now time.Time) (good time.Duration) // as sandbox.Throttle's
	done <-chan struct{}                          // closed once it is dead
	good time.Duration                            // for how long the last look was good
	next time.Time                                // when that is over
}

// throttle has a process held to its cpu_max while it lives.
func (l *Launcher) throttle(r *groupRunner) {
	t := r.cell.Throttle()
	if t == nil {
		return
	}
	select {
	case l.throttling <- &throttled{look: t.Look, done: r.done}:
	case <-r.done:
	}
}

// throttleAll holds all processes to their cpu_max, one goroutine for all, until the Launcher is
// closed. It is not the one that watches the other limits: that one may have much to read.
func (l *Launcher) throttleAll() {
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
			if !t.lookIfDue(time.Now()) { // each by its own clock: to stop the one before may have taken a while
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
		// However many processes there are, looking takes a fifth of the time if it can.
		timer.Reset(max(time.Until(next), min(4*time.Since(began), throttleRest)))
	}
}

// lookIfDue looks at the process if it is time, and reports whether there is more to come. What is due
// soon is looked at now, so that processes come to be looked at together.
func (t *throttled) lookIfDue(now time.Time) bool {
	select {
	case <-t.done:
		return false
	default:
	}
	if t.next.Sub(now) > t.good/4 {
		return true
	}
	t.good = t.look(now)
	t.next = now.Add(t.good)
	return t.good > 0
}
