package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

const (
	// quotaShare of its limit is what a cell uses when it is put under its quota.
	quotaShare = 0.9
	// quotaRounds bounds how often at a time it is looked who was born outside meanwhile.
	quotaRounds = 10
)

// quota is a limit of processor time that a cell is put under when it comes near to it. In a
// processor group of version 1 each time that a process sleeps and wakes costs it more, so that
// only those are in one whom it would ever hold back. Version 2 has no group without its processor
// limit: there, and where limits are strict, it holds from the start.
type quota struct {
	cell *Cell
	used time.Duration
	at   time.Time // when it was that
	due  bool
}

// lateQuota reports whether the cell is to be put under its quota when it needs to be: what it
// uses, and who is in it, is told by its group of version 2.
func (c *Cell) lateQuota() bool { return c.limits.CPUMax > 0 && !c.limits.Strict && c.v2 != "" }

// look puts the cell under its quota if it has used too much since the last look, and reports
// whether it is now.
func (q *quota) look(now time.Time) (under bool) {
	used, since := q.cell.cpuTime(), now.Sub(q.at)
	q.due = q.due || float64(used-q.used) > quotaShare*q.cell.limits.CPUMax*float64(since)
	q.used, q.at = used, now
	return q.due && q.cell.enterQuota()
}

// enterQuota moves all that is in the cell into its processor group, and reports whether all of it
// is there. A child is born where its parent is.
func (c *Cell) enterQuota() bool {
	dir := c.v1["cpu"]
	for range quotaRounds {
		inside := pidsIn(dir)
		outside := slices.DeleteFunc(pidsIn(c.v2), func(pid int) bool { return slices.Contains(inside, pid) || pid == os.Getpid() })
		if len(outside) == 0 {
			return true
		}
		for _, pid := range outside {
			if errors.Is(writeFile(dir, "cgroup.procs", strconv.Itoa(pid)), os.ErrNotExist) {
				// Somebody has cleared away what was empty.
				_, opened, err := c.sandbox.child("cpu", filepath.Base(dir))
				if !opened || err != nil || v1Limit(dir, "cpu", &c.limits) != nil {
					return false // the next look tries again
				}
			}
		}
	}
	return false
}

// cpuTime returns what the cell has used so far, by its group of version 2; 0 where it has none.
func (c *Cell) cpuTime() time.Duration {
	if c.v2 == "" {
		return 0
	}
	return time.Duration(readKey(c.v2, "cpu.stat", "usage_usec")) * time.Microsecond
}
