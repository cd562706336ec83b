package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// oomScore makes the kernel take a plugin rather than its host when the machine is out of
// memory.
const oomScore = 500

// Cell is what one process is confined in, with all that it starts. Its methods are safe for
// concurrent use.
type Cell struct {
	limits   Limits
	machine  *Machine
	cookie   string
	home     string
	work     string
	binary   string
	identity *Identity

	gaps []Gap // what turned out not to be enforced, though the machine looked as if it were

	v2       string // its group of version 2, "" where there is none
	v2fd     int    // its folder, -1 once it is closed or where there is none
	v2has    []string
	throttle *Throttle         // of its processor time; nil where the kernel does it, or nobody
	v1       map[string]string // its groups of version 1, by controller
	doors    []door

	over func() // lets the thread end that the process was born on

	mu     sync.Mutex
	born   bool
	leader int
	closed bool
	peak   int64 // memory, as sampled
}

// Place is where a process lives.
type Place struct {
	// Cookie is the value of the variable in its environment by which it, and what it
	// starts, can be found.
	Cookie string
	// Home is the private folder that holds its socket and its work folder; Work is that.
	// Both are there, and belong to the host's user.
	Home, Work string
	// Binary is what it runs.
	Binary string
}

// Cell makes a cell. Close it once the process is dead.
func (s *Sandbox) Cell(p Place, l Limits) (c *Cell, err error) {
	if err := s.strict(&l); err != nil {
		return nil, err
	}
	c = &Cell{limits: l, machine: s.machine, cookie: p.Cookie, home: p.Home, work: p.Work, binary: p.Binary, v2fd: -1, v1: map[string]string{}}
	defer func() {
		if err != nil {
			_ = c.Close()
			c = nil
		}
	}()
	if l.RunAs != "" {
		if c.identity, err = LookupUser(l.RunAs); err != nil {
			return c, err
		}
		for _, dir := range []string{p.Home, p.Work} {
			if err = c.Own(dir); err != nil {
				return c, err
			}
		}
	}
	if err = s.groups(c, filepath.Base(p.Home)); err != nil {
		return c, err
	}
	if c.gaps = s.missing(c); l.Strict && len(c.gaps) > 0 {
		return c, strictError(c.gaps)
	}
	register(c)
	return c, nil
}

// Gaps returns what the kernel does not enforce for this cell although it should be able to on
// this machine, for example because a group could not be made.
func (c *Cell) Gaps() []Gap { return c.gaps }

// missing returns the limits of a cell that should have a group, and have none.
func (s *Sandbox) missing(c *Cell) (gaps []Gap) {
	l := &c.limits
	for _, x := range []struct {
		setting, controller string
		wanted, has         bool
	}{
		{"memory_max", "memory", l.MemoryMax > 0, c.memoryByGroup()},
		{"cpu_max", "cpu", l.CPUMax > 0, c.throttle != nil || c.cpuByGroup()},
		{"pids_max", "pids", l.PidsMax > 0, c.pidsByGroup()},
	} {
		switch {
		case !x.wanted || x.has:
		case s.machine.controllers()[x.controller] == "":
			gaps = append(gaps, Gap{x.setting, "its cgroup cannot be made: " + s.whyNot(x.controller)})
		case x.controller == "cpu" && s.machine.throttles(): // else the machine's gaps tell it
			gaps = append(gaps, Gap{x.setting, "no cgroup that could be frozen can be made; it is not enforced"})
		}
	}
	return gaps
}

// Own gives a file or folder to the user that the process runs as.
func (c *Cell) Own(path string) error {
	if c.identity == nil {
		return nil
	}
	return os.Chown(path, int(c.identity.UID), int(c.identity.GID))
}

// Identity returns the user that the process runs as, nil where that is the host's own.
func (c *Cell) Identity() *Identity { return c.identity }

// groups makes the cell's groups.
func (s *Sandbox) groups(c *Cell, name string) error {
	if dir, opened, err := s.child("", name); opened {
		if err == nil {
			c.throttle = s.throttle(dir, &c.limits)
			c.v2, c.v2has = dir, s.given(c.quota())
			if c.v2fd, err = openKernel(dir, unix.O_PATH|unix.O_DIRECTORY); err != nil {
				return fmt.Errorf("cgroup: %w", err)
			}
			byKernel := c.limits
			if c.throttle != nil {
				byKernel.CPUMax = 0
			}
			has := func(controller string) bool { return slices.Contains(c.v2has, controller) }
			if err := v2Limit(dir, &byKernel, has); err != nil {
				return err
			}
		}
	}
	limits := map[string]bool{"memory": c.limits.MemoryMax > 0, "pids": c.limits.PidsMax > 0, "cpu": c.quota()}
	for _, controller := range v1Controllers {
		wanted := limits[controller] || controller == "freezer" && c.v2 == ""
		h, mounted := s.machine.hierarchies.v1[controller]
		if !wanted || !mounted {
			continue
		}
		dir, opened, err := s.child(controller, name)
		if !opened {
			continue // a gap that has been told
		}
		if err != nil && !errors.Is(err, os.ErrExist) { // two controllers can share a tree
			return fmt.Errorf("cgroup: %w", err)
		}
		c.v1[controller] = dir
		if err := v1Limit(dir, controller, &c.limits); err != nil {
			return err
		}
		d, err := openDoor(dir, h.own)
		if err != nil {
			return err
		}
		c.doors = append(c.doors, d)
	}
	return nil
}

// throttle returns what is to hold a group to its CPUMax, nil if that is left to the kernel, or nothing can.
func (s *Sandbox) throttle(group string, l *Limits) *Throttle {
	if l.CPUMax <= 0 || l.Strict {
		return nil
	}
	t, err := newThrottle(group, l.CPUMax)
	if err != nil {
		return nil
	}
	if t.account.isLow() && s.machine.controllers()["cpu"] == "" {
		t.close()
		return nil
	}
	return t
}

// Start runs start, which forks the process with the given attributes, on a thread of its
// own, which all that confines it is inherited from. The thread lives until Over is called:
// when it ends the kernel kills the process.
func (c *Cell) Start(attr *syscall.SysProcAttr, start func() (pid int, err error)) error {
	// A group of its own, not a session: where the kernel shares processor time out by
	// session ("autogroup"), one that has had more than its share is slow to die.
	attr.Setpgid, attr.Pdeathsig = true, syscall.SIGKILL
	if c.v2fd >= 0 {
		attr.UseCgroupFD, attr.CgroupFD = true, c.v2fd
	}
	if c.identity != nil {
		attr.Credential = c.identity.credential()
	}
	result, over := make(chan error, 1), make(chan struct{})
	c.over = sync.OnceFunc(func() { close(over) })
	onOwnThread(func() {
		err := c.bear(attr, start)
		result <- err
		if err == nil {
			<-over
		}
	})
	err := <-result
	for _, d := range c.doors {
		d.close()
	}
	c.doors = nil
	return err
}

// bear confines the calling thread and starts the process on it.
func (c *Cell) bear(attr *syscall.SysProcAttr, start func() (int, error)) error {
	l := &c.limits
	unfavour()
	if l.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("no_new_privs: %w", err)
		}
	}
	if l.ScratchMax > 0 && c.machine.mounts() == nil {
		if err := c.mountWork(); err != nil {
			return err
		}
	}
	var extra []string
	if l.NoNetwork {
		user, err := c.machine.networks()
		switch {
		case err != nil: // a gap that has been told
		case user:
			ownUser(attr)
			extra = []string{"/proc"} // where the parent says who the child's users are
		default:
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("own network: %w", err)
			}
		}
	}
	// Landlock needs no_new_privs, or root's rights.
	if abi := c.machine.landlock; abi > 0 && (l.files() || l.ProtectHost && (l.NoNewPrivs || c.machine.root)) {
		if err := restrictThread(abi, l, c.binary, c.home, extra...); err != nil {
			return err
		}
	}
	return c.fork(start)
}

// fork starts the process inside the groups of version 1, in which the thread is no longer
// than that.
func (c *Cell) fork(start func() (int, error)) (err error) {
	for _, d := range c.doors {
		if err = d.enter(); err != nil {
			break
		}
	}
	pid := 0
	if err == nil {
		pid, err = start()
	}
	for _, d := range c.doors {
		err = errors.Join(err, d.leave())
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.born, c.leader = true, pid
	c.mu.Unlock()
	c.settled(pid)
	c.rlimits(pid)
	return nil
}

// mountWork puts a file system of limited size into the place of the work folder, for this
// thread and what it starts: it is gone when they are.
func (c *Cell) mountWork() error {
	if err := privateMounts(); err != nil {
		return err
	}
	options := fmt.Sprintf("size=%d,mode=0700", c.limits.ScratchMax)
	if c.identity != nil {
		options += fmt.Sprintf(",uid=%d,gid=%d", c.identity.UID, c.identity.GID)
	}
	if err := unix.Mount("leptir-scratch", c.work, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount the scratch folder: %w", err)
	}
	return nil
}

// rlimits sets what is a limit of each process by itself. The process has just begun.
func (c *Cell) rlimits(pid int) {
	set := func(resource int, n uint64) {
		_ = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: n, Max: n}, nil) // fails if it is dead
	}
	set(unix.RLIMIT_CORE, 0)
	if c.limits.OpenFiles > 0 {
		set(unix.RLIMIT_NOFILE, uint64(c.limits.OpenFiles))
	}
	if c.limits.PidsMax > 0 && c.identity != nil && !c.pidsByGroup() {
		set(unix.RLIMIT_NPROC, uint64(c.limits.PidsMax))
	}
}

// Settle does what can only be done after the start, and not by the thread of the start.
func (c *Cell) Settle() {
	c.mu.Lock()
	pid := c.leader
	c.mu.Unlock()
	_ = writeKernel(fmt.Sprintf("/proc/%d/oom_score_adj", pid), strconv.Itoa(oomScore))
}

// Over tells that the process is dead and reaped.
func (c *Cell) Over() {
	if c.over != nil {
		c.over()
	}
}

// Kill kills all that is in the cell, as far as a group holds it; it does not wait for
// anything to die. It reports whether there is such a group: then nothing can have escaped.
func (c *Cell) Kill() (all bool) {
	c.mu.Lock()
	born, leader := c.born && !c.closed, c.leader
	c.mu.Unlock()
	if !born {
		return false
	}
	c.hasten()
	switch {
	case c.v2 != "":
		all = v2Kill(c.v2) == nil
		speed(c.v2, leader)
	case c.v1["freezer"] != "":
		all = v1Kill(c.v1["freezer"]) == nil
	}
	return all
}

// KillRest is Kill for a process that is dead: what it has started may live. Mostly nothing does,
// which costs one look.
func (c *Cell) KillRest() (all bool) {
	c.mu.Lock()
	born := c.born && !c.closed
	c.mu.Unlock()
	if born && c.v2 != "" {
		b, err := readKernel(filepath.Join(c.v2, "cgroup.events"))
		if n, ok := valueOf(string(b), "populated"); err == nil && ok && n == 0 {
			return true
		}
	}
	return c.Kill()
}

// Release lifts CPUMax: who is about to be killed may have something to say, and may have used up
// its share.
func (c *Cell) Release() {
	switch dir := c.v1["cpu"]; {
	case c.throttle != nil:
		c.throttle.release()
	case !c.quota():
	case dir != "":
		_ = writeFile(dir, "cpu.cfs_quota_us", "-1")
	case c.cpuByGroup():
		_ = writeFile(c.v2, "cpu.max", "max")
	}
}

// hasten lets what is in the cell run before others, now that it is to die: to die it needs the
// processor, too.
func (c *Cell) hasten() {
	c.Release()
	switch dir := c.v1["cpu"]; {
	case !c.quota():
	case dir != "":
		_ = writeFile(dir, "cpu.shares", "262144")
	case c.cpuByGroup():
		_ = writeFile(c.v2, "cpu.weight", "10000")
	}
}

// Throttle returns what holds the cell to its CPUMax: whoever has started it is to call its Look again and again
// until the process is dead. It is nil where that is left to the kernel, or to nobody.
func (c *Cell) Throttle() *Throttle { return c.throttle }

// quota reports whether CPUMax is to be the kernel's quota.
func (c *Cell) quota() bool { return c.limits.CPUMax > 0 && c.throttle == nil }

// Close removes the cell's groups. What was started in it has been killed.
func (c *Cell) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	unregister(c)
	c.Over()
	for _, d := range c.doors {
		d.close()
	}
	c.doors = nil
	if c.throttle != nil {
		c.throttle.close()
	}
	if c.v2fd >= 0 {
		_ = unix.Close(c.v2fd)
		c.v2fd = -1
	}
	var errs []error
	if c.v2 != "" {
		errs = append(errs, removeGroup(c.v2))
	}
	for _, dir := range c.v1 {
		errs = append(errs, removeGroup(dir))
	}
	return errors.Join(errs...)
}

func (c *Cell) memoryByGroup() bool {
	return c.v1["memory"] != "" || c.v2 != "" && slices.Contains(c.v2has, "memory")
}

func (c *Cell) pidsByGroup() bool {
	return c.v1["pids"] != "" || c.v2 != "" && slices.Contains(c.v2has, "pids")
}

func (c *Cell) cpuByGroup() bool {
	return c.v1["cpu"] != "" || c.v2 != "" && slices.Contains(c.v2has, "cpu")
}

func (c *Cell) scratchByMount() bool { return c.machine.mounts() == nil }

// Usage is what the processes of a cell have used together, as far as the kernel tells.
type Usage struct {
	PeakMemory int64         // bytes; 0 where it is not known
	CPU        time.Duration // 0 where it is not known
	OOMKills   int64         // processes killed at the memory limit
	PidsHits   int64         // processes and threads that were refused
}

// Usage returns what has been used so far.
func (c *Cell) Usage() (u Usage) {
	c.mu.Lock()
	u.PeakMemory = c.peak
	c.mu.Unlock()
	if c.v2 != "" {
		u.CPU = time.Duration(readKey(c.v2, "cpu.stat", "usage_usec")) * time.Microsecond
		if slices.Contains(c.v2has, "memory") && c.limits.MemoryMax > 0 {
			u.PeakMemory = max(u.PeakMemory, readInt(c.v2, "memory.peak"))
		}
	}
	if dir := c.v1["memory"]; dir != "" {
		u.PeakMemory = max(u.PeakMemory, readInt(dir, "memory.max_usage_in_bytes"))
	}
	u.OOMKills, u.PidsHits = c.hits()
	return u
}

// hits returns how often the kernel has enforced a limit.
func (c *Cell) hits() (oom, pids int64) {
	switch dir := c.v1["memory"]; {
	case dir != "":
		oom = readKey(dir, "memory.oom_control", "oom_kill")
	case c.memoryByGroup() && c.limits.MemoryMax > 0:
		oom = readKey(c.v2, "memory.events", "oom_kill")
	}
	switch dir := c.v1["pids"]; {
	case dir != "":
		pids = readKey(dir, "pids.events", "max")
	case c.pidsByGroup() && c.limits.PidsMax > 0:
		pids = readKey(c.v2, "pids.events", "max")
	}
	return oom, pids
}
