package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchy is one mounted cgroup tree, and where in it groups are made.
type hierarchy struct {
	// parent is the folder of the group below which groups are made, own the folder of the
	// group that the host itself is in, top the folder of the topmost group that shows.
	parent, own, top string
}

// hierarchies are the cgroup trees that matter here: that of version 2, and those of
// version 1 by controller. What is not mounted is not there.
type hierarchies struct {
	v2 *hierarchy
	v1 map[string]hierarchy
}

// v1Controllers are the controllers of version 1 that are used. The freezer is for killing
// where there is no version 2.
var v1Controllers = []string{"memory", "pids", "cpu", "freezer"}

// findHierarchies reads what is mounted from the texts of /proc/self/mountinfo and
// /proc/self/cgroup. parent, where it is not "", is taken instead of the host's own group;
// it is a path from the top of each hierarchy.
func findHierarchies(mountinfo, cgroup, parent string) hierarchies {
	own := map[string]string{} // controller, or "" of version 2, to path
	for line := range strings.Lines(cgroup) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			own[c] = f[2]
		}
	}
	h := hierarchies{v1: map[string]hierarchy{}}
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		f, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(super) < 3 {
			continue
		}
		root, mount := unescape(f[3]), unescape(f[4])
		at := func(controller string) (hierarchy, bool) {
			path, known := own[controller]
			rel, below := strings.CutPrefix(path, strings.TrimSuffix(root, "/"))
			if !known || !below || rel != "" && rel[0] != '/' || strings.Contains(path, "/..") {
				return hierarchy{}, false
			}
			x := hierarchy{own: filepath.Join(mount, rel), top: mount}
			x.parent = x.own
			if parent != "" {
				x.parent = filepath.Join(mount, filepath.Clean("/"+parent))
			}
			return x, true
		}
		switch super[0] {
		case "cgroup2":
			if x, ok := at(""); ok && h.v2 == nil {
				h.v2 = &x
			}
		case "cgroup":
			for c := range strings.SplitSeq(super[2], ",") {
				if _, twice := h.v1[c]; twice || !slices.Contains(v1Controllers, c) {
					continue
				}
				if x, ok := at(c); ok {
					h.v1[c] = x
				}
			}
		}
	}
	return h
}

// unescape undoes the \ooo of a path in mountinfo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// writable reports whether groups may be made in a folder.
func writable(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }

// writeFile writes a value to a file of a group, which must be there.
func writeFile(dir, name, value string) error {
	return writeKernel(filepath.Join(dir, name), value)
}

// readInt reads a file that holds one number; 0 where it cannot.
func readInt(dir, name string) int64 {
	b, err := readKernel(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	return n
}

// readKey reads one number of a file of lines "key number"; 0 where it cannot.
func readKey(dir, name, key string) int64 {
	b, err := readKernel(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	n, _ := valueOf(string(b), key)
	return n
}

// valueOf returns the number behind a key in lines "key number".
func valueOf(lines, key string) (n int64, ok bool) {
	for line := range strings.Lines(lines) {
		if k, v, found := strings.Cut(strings.TrimSpace(line), " "); found && k == key {
			n, err := strconv.ParseInt(v, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// pidsIn returns the processes of a group.
func pidsIn(dir string) (pids []int) {
	pids = readPids(filepath.Join(dir, "cgroup.procs"))
	return slices.DeleteFunc(pids, func(pid int) bool { return pid <= 0 }) // one of another namespace
}

// killByList kills what is in a group, round after round until nothing is, with the group
// frozen in between so that it cannot outrun the killing.
func killByList(dir string, freeze func(bool) error) error {
	const rounds = 100
	self := os.Getpid()
	for round := range rounds {
		if round > 2 { // what has been killed takes its time to die
			time.Sleep(min(time.Duration(round)*100*time.Microsecond, 5*time.Millisecond))
		}
		_ = freeze(true)
		left := 0
		for _, pid := range pidsIn(dir) {
			if pid != self { // a thread of the host's while it gives birth
				left++
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		_ = freeze(false) // the frozen die only when they wake
		if left == 0 {
			return nil
		}
	}
	return fmt.Errorf("processes remain in %s after %d rounds of killing", dir, rounds)
}
