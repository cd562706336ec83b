package sandbox

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// throttlePeriod is for how long what a process has not used of its processor time is saved up
	// for it.
	throttlePeriod = 100 * time.Millisecond
	// longestLook and shortestLook bound how often it is looked at what it has used.
	longestLook  = 50 * time.Millisecond
	shortestLook = 5 * time.Millisecond
	// longestDebt is for how long a process is stopped at most for having been looked at late.
	longestDebt = 2 * time.Second
)

// Throttle holds what is in a cell to its CPUMax by stopping it (the freezer of cgroups, version 2)
// whenever it has used more, for as long as that lasts. Unlike the kernel's quota it needs no processor
// group, which would cost a process a little at each sleep, and never stops a process inside the
// kernel, where others may wait for what it holds.
//
// One goroutine calls Look; the rest is safe for concurrent use.
type Throttle struct {
	group    string
	account  account
	frozen   bool
	released atomic.Bool
}

// newThrottle returns the throttle of a group, nil if it cannot be stopped or tells not what it uses.
func newThrottle(group string, cores float64) *Throttle {
	for name, mode := range map[string]uint32{"cgroup.freeze": unix.W_OK, "cpu.stat": unix.R_OK} {
		if unix.Access(filepath.Join(group, name), mode) != nil {
			return nil
		}
	}
	return &Throttle{group: group, account: newAccount(cores, float64(runtime.NumCPU()), time.Now())}
}

// Look stops what is in the cell, or lets it go on, by what it has used, and returns how long it is
// good for; 0 says that there is nothing to look at any more.
func (t *Throttle) Look(now time.Time) time.Duration {
	if t.released.Load() {
		return 0
	}
	t.account.book(cpuTimeOf(t.group), now)
	if over := t.account.over(t.frozen); over != t.frozen {
		if t.freeze(over) != nil {
			return shortestLook // it may be in somebody's hands for a moment
		}
		t.frozen = over
		if t.released.Load() {
			_ = t.freeze(false)
			return 0
		}
	}
	return t.account.next(t.frozen)
}

// release lets what is in the cell go on, for good.
func (t *Throttle) release() {
	t.released.Store(true)
	_ = t.freeze(false)
}

func (t *Throttle) freeze(on bool) error {
	return writeFile(t.group, "cgroup.freeze", map[bool]string{true: "1", false: "0"}[on])
}

// cpuTimeOf returns what has been used in a group of version 2 so far.
func cpuTimeOf(group string) time.Duration {
	return time.Duration(readKey(group, "cpu.stat", "usage_usec")) * time.Microsecond
}

// canFreeze reports whether groups of version 2 can be stopped: since Linux 5.2.
func canFreeze() bool {
	var u unix.Utsname
	var major, minor int
	if unix.Uname(&u) != nil {
		return false
	}
	_, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return err == nil && (major > 5 || major == 5 && minor >= 2)
}

// account keeps the processor time that somebody may use: it grows with the time that passes, is
// saved up to a bound, and can be overdrawn.
type account struct {
	rate, cores float64       // of the limit, of the machine
	balance     time.Duration // of processor time
	used        time.Duration // so far
	at          time.Time     // when it was that
}

func newAccount(rate, cores float64, now time.Time) account {
	a := account{rate: rate, cores: max(cores, rate), at: now}
	a.balance = a.most()
	return a
}

// most is what can be saved up.
func (a *account) most() time.Duration { return a.worth(throttlePeriod) }

// worth is what may be used in a time, cost how long it takes until so much may be used.
func (a *account) worth(d time.Duration) time.Duration { return time.Duration(a.rate * float64(d)) }
func (a *account) cost(d time.Duration) time.Duration  { return time.Duration(float64(d) / a.rate) }

// look is how long it may go unlooked at: with all of the machine's cores it shall not use more in that time
// than it may in half a second.
func (a *account) look() time.Duration {
	return min(max(time.Duration(float64(500*time.Millisecond)*a.rate/a.cores), 2*shortestLook), longestLook)
}

// book notes what has been used so far. What is used between two looks in time is always paid back; if the
// looks are late it is not the process's fault alone, nor shall it stand still for minutes.
func (a *account) book(used time.Duration, now time.Time) {
	used = max(used, a.used) // it is 0 if it could not be read this time
	a.balance += a.worth(now.Sub(a.at)) - (used - a.used)
	a.used, a.at = used, now
	least := max(a.worth(longestDebt), time.Duration(2*a.cores*float64(a.look())))
	a.balance = min(max(a.balance, -least), a.most())
}

// over reports whether no more may be used. Who has overdrawn waits until it is worth going on.
func (a *account) over(already bool) bool {
	if already {
		return a.balance < a.most()/2
	}
	return a.balance < 0
}

// next is how long the answer of over is good for.
func (a *account) next(over bool) time.Duration {
	switch {
	case over:
		return max(a.cost(a.most()/2-a.balance), time.Millisecond)
	case a.balance == a.most():
		return a.look()
	default: // the earliest that it can be used up
		return min(max(time.Duration(float64(a.balance)/(a.cores-a.rate+0.01)), shortestLook), a.look())
	}
}
