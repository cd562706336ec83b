package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backplane/leptir/internal/protocol"
)

const (
	// groupKeep is how long the number of a dead process's group is remembered: whatever of it
	// is still there then keeps the number from going to somebody else.
	groupKeep = 10 * time.Second
	// strangerSweeps is in how many sweeps a dead child that nobody knows must have been
	// seen before it is buried: somebody else of this program may be about to.
	strangerSweeps = 3
	// escapeRounds and escapeWait bound how long what has escaped is hunted after a kill.
	escapeRounds = 60
	escapeWait   = time.Millisecond
)

// family is what this program knows of the processes it has started. The kernel gives it
// their orphans (it is a "child subreaper"), so that they can be found, killed and buried;
// this is of the whole program, not of one Sandbox.
var family = struct {
	mu        sync.Mutex
	cells     map[string]*Cell  // by cookie, those whose process may live
	runs      map[string]int    // cells ever made in a run of a host
	groups    map[int]time.Time // process groups; when their leader died
	sessions  map[int]session   // that what our processes have started has opened
	strangers map[int]int       // dead children that nobody knows: in how many sweeps
	adopt     sync.Once
	children  int // the open list of this program's children, once adopt is done; -1 where there is none
}{cells: map[string]*Cell{}, runs: map[string]int{}, groups: map[int]time.Time{}, sessions: map[int]session{}, strangers: map[int]int{}}

// session is a session that a descendant of a process of ours has opened. Nobody can join one
// that he was not born in, so that all in it descend from that process.
type session struct {
	cookie string
	seen   time.Time // when an orphan of it was last seen
}

// Cookie makes the value of the variable by which a process is found: random is its own,
// beside the run's.
func (s *Sandbox) Cookie(random string) string { return s.run + "." + random }

func runOf(cookie string) string {
	run, _, _ := strings.Cut(cookie, ".")
	return run
}

// adopt makes this program the one that the kernel gives orphans of its descendants to.
func adopt() {
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	family.children, _ = openKernel(childrenFile(), unix.O_RDONLY)
}

func register(c *Cell) {
	family.adopt.Do(adopt)
	family.mu.Lock()
	defer family.mu.Unlock()
	family.cells[c.cookie] = c
	family.runs[runOf(c.cookie)]++
}

// settled notes a cell's leader, whose pid is also its group's number.
func (c *Cell) settled(pid int) {
	family.mu.Lock()
	defer family.mu.Unlock()
	family.groups[pid] = time.Time{}
}

// unregister tells that a cell's process is dead: what it has started is to follow it.
func unregister(c *Cell) {
	c.mu.Lock()
	leader := c.leader
	c.mu.Unlock()
	family.mu.Lock()
	defer family.mu.Unlock()
	delete(family.cells, c.cookie)
	if _, ok := family.groups[leader]; ok {
		family.groups[leader] = time.Now()
	}
}

// childrenFile lists the children of this program's main thread.
func childrenFile() string {
	self := os.Getpid()
	return fmt.Sprintf("/proc/%d/task/%d/children", self, self)
}

// adopted returns the children of this program that it has not started itself: the kernel
// gives orphans to the main thread, on which no process is ever born. The list is looked at
// after each process's death, and kept open, which spares the way to it through /proc.
func adopted() []int {
	family.adopt.Do(adopt)
	if family.children < 0 {
		return nil
	}
	b, err := readFrom(family.children, "children")
	if err != nil {
		return nil
	}
	return parsePids(b)
}

// Dead tells that the cell's process has been reaped, and kills what it has left running
// outside of its groups, as far as that shows by now.
func (c *Cell) Dead() {
	c.Over()
	unregister(c)
	Sweep()
}

// Hunt goes on killing what a dead process has left, as it shows, and buries the dead. It
// returns when nothing more is found, or soon all the same.
func (c *Cell) Hunt() {
	quiet, enough := 0, 1
	if c.v2 == "" && c.v1["freezer"] == "" {
		enough = 3 // the list of children can lack some while others of them end
	}
	for range escapeRounds {
		if Sweep() > 0 {
			quiet = 0
		} else if quiet++; quiet == enough {
			return
		}
		time.Sleep(escapeWait)
	}
}

// sweeping lets one goroutine sweep at a time: two could kill and bury the same pid.
var sweeping sync.Mutex

// orphan is a process that has been adopted.
type orphan struct {
	pid    int
	stat   procStat
	cookie string
	begun  bool // it has an environment
	cgroup []byte
}

// Sweep kills orphans of processes that are dead, and buries dead ones. It returns how many
// of them there still are. It costs one look at a mostly empty list.
func Sweep() (left int) {
	sweeping.Lock()
	defer sweeping.Unlock()
	var all []orphan
	// The newest first: of a chain of processes that each start the next one and end, only the
	// last is alive, and not for long.
	for _, pid := range slices.Backward(adopted()) {
		o := orphan{pid: pid}
		var ok bool
		if o.stat, ok = statOf(pid); !ok || o.stat.ppid != os.Getpid() {
			continue
		}
		if o.stat.state != 'Z' { // the dead have none
			o.cookie, o.begun = lookupEnv(pid, protocol.EnvProcessID)
		}
		o.noteSession(time.Now())
		o.cgroup, _ = readKernel("/proc/" + strconv.Itoa(pid) + "/cgroup")
		all = append(all, o)
	}
	bury, kill, unsure := sort(all, time.Now())
	left = unsure
	for _, pid := range bury {
		if n, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); n != pid && !errors.Is(err, unix.ECHILD) {
			left++
		}
	}
	for _, pid := range kill {
		left++
		for _, p := range treeOf(pid) {
			if was, ok := statOf(p); ok {
				killIf(p, func() bool {
					is, ok := statOf(p)
					return ok && is.start == was.start
				})
			}
		}
	}
	return left
}

// noteSession learns, or knows, by its session whose an orphan is, and kills its group if its
// process is dead: the group may hold what is not adopted yet. As long as the orphan is not
// buried the number of its group is nobody else's.
func (o *orphan) noteSession(now time.Time) {
	own, err := unix.Getsid(0)
	if err != nil || o.stat.session == own || o.stat.session <= 1 {
		return
	}
	family.mu.Lock()
	defer family.mu.Unlock()
	if s, ok := family.sessions[o.stat.session]; ok && o.cookie == "" {
		o.cookie = s.cookie // the dead have no environment, nor has who has cleared it
	}
	if o.cookie == "" || family.runs[runOf(o.cookie)] == 0 {
		return
	}
	family.sessions[o.stat.session] = session{o.cookie, now}
	if _, lives := family.cells[o.cookie]; !lives && o.stat.group > 1 {
		KillGroup(o.stat.group)
	}
}

// sort decides what becomes of orphans. unsure is of how many that cannot be told yet.
func sort(all []orphan, now time.Time) (bury, kill []int, unsure int) {
	family.mu.Lock()
	defer family.mu.Unlock()
	for group, dead := range family.groups {
		if !dead.IsZero() && now.Sub(dead) > groupKeep {
			delete(family.groups, group)
		}
	}
	strangers := map[int]int{}
	own, _ := unix.Getsid(0)
	for id, s := range family.sessions {
		if now.Sub(s.seen) > groupKeep {
			delete(family.sessions, id)
		}
	}
	for _, o := range all {
		cell, ours := owner(&o)
		switch {
		case o.stat.state == 'Z' && (ours || family.strangers[o.pid] >= strangerSweeps):
			bury = append(bury, o.pid)
		case !ours && o.stat.session == own:
			// Another part of this program has started it.
		case o.stat.state == 'Z':
			strangers[o.pid] = family.strangers[o.pid] + 1
		case ours && cell == nil:
			kill = append(kill, o.pid)
		case !ours && !o.begun:
			unsure++
		}
	}
	family.strangers = strangers
	return bury, kill, unsure
}

// owner tells whether an orphan comes from a process of ours, and the cell of that process
// if it lives. family.mu is held.
func owner(o *orphan) (cell *Cell, ours bool) {
	if o.cookie != "" {
		return family.cells[o.cookie], family.runs[runOf(o.cookie)] > 0
	}
	if dead, ok := family.groups[o.stat.group]; ok {
		if dead.IsZero() {
			for _, c := range family.cells {
				if c.leaderPID() == o.stat.group {
					return c, true
				}
			}
		}
		return nil, true
	}
	// The dead have no environment any more, but their group still.
	for part := range bytes.FieldsFuncSeq(o.cgroup, func(r rune) bool { return r == '/' || r == '\n' }) {
		if run, ok := strings.CutPrefix(string(part), groupPrefix); ok && family.runs[run] > 0 {
			for _, c := range family.cells {
				if c.holds(o.cgroup) {
					return c, true
				}
			}
			return nil, true
		}
	}
	return nil, false
}

func (c *Cell) leaderPID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader
}

// holds reports whether /proc/PID/cgroup names one of the cell's groups.
func (c *Cell) holds(cgroup []byte) bool {
	return bytes.Contains(cgroup, []byte("/"+groupPrefix+runOf(c.cookie)+"/"+filepath.Base(c.home)+"\n"))
}

// orphans returns the adopted processes that belong to a living cell.
func (c *Cell) orphans() (pids []int) {
	for _, pid := range adopted() {
		if cookieOf(pid, protocol.EnvProcessID) == c.cookie {
			pids = append(pids, pid)
		}
	}
	return pids
}
