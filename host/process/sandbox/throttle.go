package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
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
	// longestStop is for how long a process is to stand still at most for what it has used between two
	// looks in time.
	longestStop = 500 * time.Millisecond
	// longestDebt is for how long it may have to when the host has looked late.
	longestDebt = 2 * time.Second
)

// Throttle holds what is in a cell to its CPUMax by stopping it (the freezer of cgroups, version 2)
// whenever it has used more, for as long as that lasts. Unlike the kernel's quota it needs no processor
// group, which would cost a process a little at each sleep, and stops nobody inside the
// kernel, where others may wait for what he holds.
//
// One goroutine calls Look; the rest is safe for concurrent use.
type Throttle struct {
	group    freezable
	account  account
	frozen   bool
	released atomic.Bool
}

// freezable is what can be stopped, with all that is in it.
type freezable interface {
	// used returns the processor time that has been used in it so far.
	used() (time.Duration, error)
	// freeze stops it or lets it go on. It is safe for concurrent use.
	freeze(on bool) error
	close()
}

// newThrottle returns the throttle of a group of version 2, an error if the group cannot be stopped or does not
// tell what is used in it. Its owner closes it.
func newThrottle(group string, rate float64) (*Throttle, error) {
	g, err := openFreezable(group)
	if err != nil {
		return nil, err
	}
	return &Throttle{group: g, account: newAccount(rate, float64(processors()), time.Now())}, nil
}

// close lets go of the group. Look may still be called.
func (t *Throttle) close() { t.group.close() }

// Look stops what is in the cell, or lets it go on, by what it has used until now, and returns how long that is
// good for; 0 says that there is nothing to look at any more.
func (t *Throttle) Look(now time.Time) time.Duration {
	if t.account.rate >= t.account.cores {
		return 0 // nobody can use more
	}
	if !t.released.Load() {
		used, err := t.group.used()
		if err != nil {
			return shortestLook
		}
		t.account.book(used, now)
		over := t.account.over(t.frozen)
		// Written again while it lasts: somebody else may have let it go on.
		if (over || t.frozen) && t.group.freeze(over) != nil {
			return shortestLook
		}
		t.frozen = over
	}
	if t.released.Load() {
		if t.group.freeze(false) != nil {
			return shortestLook
		}
		return 0
	}
	return t.account.next(t.frozen)
}

// release lets what is in the cell go on, for good.
func (t *Throttle) release() {
	t.released.Store(true)
	_ = t.group.freeze(false) // else the next look does it
}

// freezableGroup is a group of version 2. Its files are held open so that there are descriptors when they are
// needed.
type freezableGroup struct{ freezer, stat *os.File }

func openFreezable(group string) (freezable, error) {
	open := func(name string, flags int) (*os.File, error) {
		path := filepath.Join(group, name)
		fd, err := openKernel(path, flags)
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), path), nil
	}
	freezer, err := open("cgroup.freeze", unix.O_WRONLY)
	if err != nil {
		return nil, err
	}
	stat, err := open("cpu.stat", unix.O_RDONLY)
	if err != nil {
		freezer.Close()
		return nil, err
	}
	return &freezableGroup{freezer, stat}, nil
}

func (g *freezableGroup) close() {
	g.freezer.Close()
	g.stat.Close()
}

func (g *freezableGroup) freeze(on bool) error {
	_, err := g.freezer.WriteAt([]byte(frozenValue(on)), 0)
	return err
}

func (g *freezableGroup) used() (time.Duration, error) {
	var b [512]byte
	n, err := g.stat.ReadAt(b[:], 0)
	if n == 0 {
		return 0, err
	}
	usec, ok := valueOf(string(b[:n]), "usage_usec")
	if !ok {
		return 0, fmt.Errorf("%s has no usage_usec", g.stat.Name())
	}
	return time.Duration(usec) * time.Microsecond, nil
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

// processors returns how many the machine has: a process may run on more than its host does.
func processors() int {
	b, _ := readKernel("/sys/devices/system/cpu/online")
	return max(countOf(string(b)), runtime.NumCPU())
}

// countOf returns how many numbers a list such as "0-3,8" has, 0 if it is none.
func countOf(list string) (n int) {
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, err1 := strconv.Atoi(first)
		b, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || b < a {
			return 0
		}
		n += b - a + 1
	}
	return n
}

// account keeps the processor time that somebody may use: it grows with the time that passes, is
// saved up to a bound, and can be overdrawn.
type account struct {
	rate, cores float64       // of the limit, of the machine
	balance     time.Duration // of processor time
	used        time.Duration // so far
	at          time.Time     // when it was that
}

// newAccount returns an account with all that can be saved up, of somebody who has used nothing.
func newAccount(rate, cores float64, now time.Time) account {
	a := account{rate: rate, cores: cores, at: now}
	a.balance = a.most()
	return a
}

// isLow reports whether so low a limit on so large a machine can be used up so fast that it would have to be looked
// at too often.
func (a *account) isLow() bool {
	return a.worth(longestStop) < time.Duration(a.cores*float64(shortestLook))
}

// most is what can be saved up.
func (a *account) most() time.Duration { return a.worth(throttlePeriod) }

// worth is what may be used in a time.
func (a *account) worth(d time.Duration) time.Duration { return time.Duration(a.rate * float64(d)) }

// interval is how long somebody may go unlooked at who uses all of the machine from now on.
func (a *account) interval() time.Duration {
	return min(max(time.Duration(float64(a.worth(longestStop))/a.cores), shortestLook), longestLook)
}

// book notes what has been used so far. What is used between two looks in time is always paid back. If the
// looks are late that is not the process's fault alone, nor shall it stand still for minutes.
func (a *account) book(used time.Duration, now time.Time) {
	a.balance += a.worth(now.Sub(a.at)) - (used - a.used)
	a.used, a.at = used, now
	least := max(a.worth(longestDebt), time.Duration(2*a.cores*float64(a.interval())))
	a.balance = min(max(a.balance, -least), a.most())
}

// over reports whether no more may be used. Who has overdrawn waits until it is worth going on: to stop and
// to go on costs each of its threads something.
func (a *account) over(already bool) bool {
	if already {
		return a.balance < a.most()
	}
	return a.balance < 0
}

// next is how long the answer of over is good for.
func (a *account) next(over bool) time.Duration {
	switch {
	case over:
		left := time.Duration(float64(a.most()-a.balance) / a.rate)
		return min(max(left, time.Millisecond), longestLook)
	case a.balance == a.most():
		return a.interval()
	default: // the earliest that it can be used up
		return min(max(time.Duration(float64(a.balance)/(a.cores-a.rate)), shortestLook), a.interval())
	}
}
