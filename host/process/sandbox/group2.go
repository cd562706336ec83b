package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hostGroup is the name of the group of version 2 that the host moves into where it must: a
// group that gives controllers to those below it may hold no process itself.
const hostGroup = "leptir-host"

// base returns the group of version 2 below which groups can be made.
func (h *hierarchy) base() (string, error) {
	base := h.parent
	if base != h.own {
		if !writableOrMissing(base) {
			return "", fmt.Errorf("no cgroup can be made in %s", base)
		}
		return base, nil
	}
	if filepath.Base(base) == hostGroup || delegated(filepath.Dir(base)) && filepath.Dir(base) != "/" {
		if up := filepath.Dir(base); writable(up) {
			return up, nil
		}
	}
	if !writable(base) {
		return "", fmt.Errorf("no cgroup can be made in %s", base)
	}
	return base, nil
}

// path returns the groups that controllers have to be given by for groups below base to have
// them, topmost first: base alone, unless it has been chosen freely.
func (h *hierarchy) path(base string) (dirs []string) {
	dirs = []string{base}
	if h.parent == h.own {
		return dirs
	}
	for base != h.top && len(base) > len(h.top) {
		base = filepath.Dir(base)
		dirs = append([]string{base}, dirs...)
	}
	return dirs
}

// obstacle says why groups below base cannot have a controller; "" is nothing.
func (h *hierarchy) obstacle(base, controller string) string {
	for _, dir := range h.path(base) {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return "" // to be made
		}
		if !slices.Contains(v2Available(dir), controller) {
			return fmt.Sprintf("%s does not have the cgroup controller %q", dir, controller)
		}
		if why := v2Obstacle(dir, controller); why != "" {
			return why
		}
	}
	return ""
}

// delegated reports whether systemd has handed a group over to whom it runs there.
func delegated(dir string) bool {
	var b [8]byte
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		if n, err := unix.Getxattr(dir, name, b[:]); err == nil && string(b[:n]) == "1" {
			return true
		}
	}
	return false
}

// v2Available returns the controllers that groups below a group could have.
func v2Available(dir string) []string {
	b, _ := readKernel(filepath.Join(dir, "cgroup.controllers"))
	return strings.Fields(string(b))
}

// v2Given returns the controllers that groups below a group have.
func v2Given(dir string) []string {
	b, _ := readKernel(filepath.Join(dir, "cgroup.subtree_control"))
	return strings.Fields(string(b))
}

// v2Obstacle says why a controller cannot be given to groups below a group; "" is nothing.
func v2Obstacle(dir, controller string) string {
	if slices.Contains(v2Given(dir), controller) {
		return ""
	}
	if unix.Access(filepath.Join(dir, "cgroup.subtree_control"), unix.W_OK) != nil {
		return fmt.Sprintf("%s must not be written; with systemd, Delegate=yes hands it over", filepath.Join(dir, "cgroup.subtree_control"))
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.type")); errors.Is(err, os.ErrNotExist) {
		return "" // the topmost may hold processes
	}
	pids := pidsIn(dir)
	if len(pids) == 0 || len(pids) == 1 && pids[0] == os.Getpid() {
		return ""
	}
	return fmt.Sprintf("%s holds other processes beside this one; give the host a cgroup of its own (with systemd, a service with Delegate=yes), or set cgroup_parent", dir)
}

// v2Give gives controllers to the groups below a group, as far as it can.
func v2Give(dir string, controllers ...string) {
	for _, c := range controllers {
		if slices.Contains(v2Given(dir), c) || !slices.Contains(v2Available(dir), c) || v2Obstacle(dir, c) != "" {
			continue
		}
		err := writeFile(dir, "cgroup.subtree_control", "+"+c)
		if errors.Is(err, unix.EBUSY) {
			// This program is in it: one level down it is out of the way.
			own := filepath.Join(dir, hostGroup)
			if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				continue
			}
			if writeFile(own, "cgroup.procs", strconv.Itoa(os.Getpid())) == nil {
				_ = writeFile(dir, "cgroup.subtree_control", "+"+c)
			}
		}
	}
}

// v2Limit writes the limits of a group that has the controllers for them.
func v2Limit(dir string, l *Limits, has func(controller string) bool) error {
	set := func(name, value string) error {
		if err := writeFile(dir, name, value); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
		return nil
	}
	if l.MemoryMax > 0 && has("memory") {
		if err := set("memory.max", strconv.FormatInt(l.MemoryMax, 10)); err != nil {
			return err
		}
		_ = set("memory.swap.max", "0")  // not there on a kernel without swap
		_ = set("memory.oom.group", "1") // Linux 4.19
	}
	if l.PidsMax > 0 && has("pids") {
		if err := set("pids.max", strconv.Itoa(l.PidsMax)); err != nil {
			return err
		}
	}
	if l.CPUMax > 0 && has("cpu") {
		if err := set("cpu.max", fmt.Sprintf("%d %d", cpuQuota(l.CPUMax), cpuPeriod)); err != nil {
			return err
		}
	}
	return nil
}

// cpuPeriod is over which time a quota of processor time is given, in µs.
const cpuPeriod = 100_000

// cpuQuota returns the µs of processor time in a period; the kernel wants 1 ms at least.
func cpuQuota(cores float64) int { return max(1000, int(cores*cpuPeriod)) }

// v2Kill kills all that is in a group and below.
func v2Kill(dir string) error {
	err := writeFile(dir, "cgroup.kill", "1")
	if errors.Is(err, os.ErrNotExist) { // before Linux 5.14, or no group any more
		err = killByList(dir, func(on bool) error {
			return writeFile(dir, "cgroup.freeze", frozenValue(on))
		})
	}
	return err
}

// frozenValue is what is written to cgroup.freeze.
func frozenValue(on bool) string {
	if on {
		return "1"
	}
	return "0"
}
