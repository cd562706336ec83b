package sandbox

import (
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// v1Limit writes the limits of a group of a controller of version 1.
func v1Limit(dir, controller string, l *Limits) error {
	set := func(name, value string) error {
		if err := writeFile(dir, name, value); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
		return nil
	}
	switch controller {
	case "memory":
		if err := set("memory.limit_in_bytes", strconv.FormatInt(l.MemoryMax, 10)); err != nil {
			return err
		}
		// Memory and swap together: or swapping would make room. Not there on a kernel that
		// does not account swap.
		_ = set("memory.memsw.limit_in_bytes", strconv.FormatInt(l.MemoryMax, 10))
	case "pids":
		return set("pids.max", strconv.Itoa(l.PidsMax))
	case "cpu":
		if err := set("cpu.cfs_period_us", strconv.Itoa(cpuPeriod)); err != nil {
			return err
		}
		return set("cpu.cfs_quota_us", strconv.Itoa(cpuQuota(l.CPUMax)))
	}
	return nil
}

// door is the file by which a thread enters a group of version 1, and the one by which it
// leaves again for the host's own. A thread that writes "0" there moves itself, at no cost
// to any other; what it starts while it is inside is born inside.
type door struct {
	inside, outside string // the files
	in, out         int    // their descriptors
}

func openDoor(inside, outside string) (d door, err error) {
	d.inside, d.outside = filepath.Join(inside, "tasks"), filepath.Join(outside, "tasks")
	if d.in, err = openKernel(d.inside, unix.O_WRONLY); err != nil {
		return d, fmt.Errorf("cgroup: %w", err)
	}
	if d.out, err = openKernel(d.outside, unix.O_WRONLY); err != nil {
		_ = unix.Close(d.in)
		return d, fmt.Errorf("cgroup: %w", err)
	}
	return d, nil
}

func (d door) enter() error { return move(d.in, d.inside) }
func (d door) leave() error { return move(d.out, d.outside) }

func move(fd int, path string) error {
	if err := writeTo(fd, path, "0"); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

func (d door) close() {
	_ = unix.Close(d.in)
	_ = unix.Close(d.out)
}

// v1Kill kills all that is in a group of the freezer.
func v1Kill(dir string) error {
	return killByList(dir, func(on bool) error {
		return writeFile(dir, "freezer.state", map[bool]string{true: "FROZEN", false: "THAWED"}[on])
	})
}
