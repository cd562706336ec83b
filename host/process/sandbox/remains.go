package sandbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backplane/leptir/internal/protocol"
)

// Remains is what one run of a host may leave behind when it is killed, written down while
// it lives.
type Remains struct {
	// Run is the run's random name, which is in the environment of all its processes.
	Run string `json:"run"`
	// Boot names the boot of the machine, Start is when the host started, in the kernel's
	// ticks since then: none of its processes is older.
	Boot  string `json:"boot"`
	Start int64  `json:"start"`
	// Groups are the cgroups that it may have made.
	Groups []string `json:"groups"`
}

// Remains returns what this run would leave.
func (s *Sandbox) Remains() Remains {
	r := Remains{Run: s.run, Boot: bootID(), Groups: s.Groups()}
	if st, ok := statOf(os.Getpid()); ok {
		r.Start = st.start
	}
	return r
}

// sweepTimeout is how long what a dead host has left may take to die.
const sweepTimeout = 5 * time.Second

func bootID() string {
	b, _ := readKernel("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(b))
}

// SweepRemains kills every process of runs whose hosts are dead, and removes their groups.
// What is said of them is checked: a plugin may have written it. It returns how many
// processes it has killed.
func SweepRemains(dead []Remains) (killed int, err error) {
	runs := map[string]int64{} // to the start of the host
	var errs []error
	for _, r := range dead {
		if r.Run == "" || r.Boot != bootID() {
			continue // the machine has been started anew: nothing can be left
		}
		runs[r.Run] = r.Start
		for _, dir := range r.Groups {
			n, err := sweepGroup(dir, r.Run)
			killed += n
			errs = append(errs, err)
		}
	}
	if len(runs) == 0 {
		return 0, errors.Join(errs...)
	}
	seen := map[int]int64{} // to the start of the process
	for end := time.Now().Add(sweepTimeout); ; {
		found := 0
		for _, pid := range allPids() {
			ours := func() bool {
				start, ok := runs[runOf(cookieOf(pid, protocol.EnvProcessID))]
				st, alive := statOf(pid)
				if ok && alive && st.start >= start && st.state != 'Z' {
					seen[pid] = st.start
					return true
				}
				return false
			}
			if ours() {
				killIf(pid, ours)
			}
		}
		for pid, start := range seen { // while they die they have no environment
			if st, ok := statOf(pid); ok && st.start == start && st.state != 'Z' {
				found++
			}
		}
		if found == 0 || time.Now().After(end) {
			break
		}
		time.Sleep(escapeWait)
	}
	return killed + len(seen), errors.Join(errs...)
}

// sweepGroup kills what is in a run's group and removes it.
func sweepGroup(dir, run string) (killed int, err error) {
	if filepath.Base(dir) != groupPrefix+run || !isGroup(dir) {
		return 0, nil
	}
	groups := []string{dir}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			groups = append(groups, filepath.Join(dir, e.Name()))
		}
	}
	for _, g := range groups {
		pids := pidsIn(g)
		if len(pids) == 0 || slices.Contains(pids, os.Getpid()) {
			continue
		}
		killed += len(pids)
		if _, statErr := os.Stat(filepath.Join(g, "freezer.state")); statErr == nil {
			err = errors.Join(err, v1Kill(g))
		} else {
			err = errors.Join(err, v2Kill(g)) // or by list, where it is one of version 1
		}
	}
	if left := removeGroup(dir); left != nil {
		return killed, errors.Join(err, left)
	}
	return killed, nil
}

// lockGroup locks a run's group for as long as the file is open. It fails if somebody else has
// the lock, or the group is gone.
func lockGroup(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		var has, is os.FileInfo
		if has, err = f.Stat(); err == nil {
			if is, err = os.Stat(dir); err == nil && !os.SameFile(has, is) {
				err = os.ErrNotExist
			}
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweepSiblings clears away the groups of dead hosts, of whatever state folder, as far as it
// may.
func sweepSiblings(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, groupPrefix+strings.Repeat("[0-9a-f]", runLength)))
	for _, dir := range dirs {
		lock, err := lockGroup(dir)
		if err != nil {
			continue
		}
		_, _ = sweepGroup(dir, strings.TrimPrefix(filepath.Base(dir), groupPrefix))
		lock.Close()
	}
}

// runLength is how long the random name of a run is.
const runLength = 32

// isGroup reports whether a folder is a cgroup.
func isGroup(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && (st.Type == unix.CGROUP_SUPER_MAGIC || st.Type == unix.CGROUP2_SUPER_MAGIC)
}

func allPids() (pids []int) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		if strings.TrimLeft(name, "0123456789") == "" {
			if pid, err := strconv.Atoi(name); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
