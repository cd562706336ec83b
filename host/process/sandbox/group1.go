package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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
	in, out *os.File
}

func openDoor(inside, outside string) (d door, err error) {
	if d.in, err = os.OpenFile(filepath.Join(inside, "tasks"), os.O_WRONLY, 0); err != nil {
		return d, fmt.Errorf("cgroup: %w", err)
	}
	if d.out, err = os.OpenFile(filepath.Join(outside, "tasks"), os.O_WRONLY, 0); err != nil {
		d.in.Close()
		return d, fmt.Errorf("cgroup: %w", err)
	}
	return d, nil
}

func (d door) enter() error { return move(d.in) }
func (d door) leave() error { return move(d.out) }

func move(f *os.File) error {
	if _, err := f.WriteString("0"); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

func (d door) close() {
	d.in.Close()
	d.out.Close()
}

// v1Kill kills all that is in a group of the freezer.
func v1Kill(dir string) error {
	return killByList(dir, func(on bool) error {
		return writeFile(dir, "freezer.state", map[bool]string{true: "FROZEN", false: "THAWED"}[on])
	})
}
