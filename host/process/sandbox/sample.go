package sandbox

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// groupInterval is how often it is looked whether the kernel has enforced a limit on a part
// of a process tree, which the rest of it can survive.
const groupInterval = 250 * time.Millisecond

// Breach is a limit that has been exceeded.
type Breach struct {
	// Memory says that it is the limit of memory.
	Memory bool
	// Detail says which limit, and by how much where that is known.
	Detail string
}

// Sampler looks at the limits of one cell, again and again. One goroutine uses it.
type Sampler struct {
	cell                   *Cell
	memory, pids, scratch  bool // to be measured here
	groups                 bool // to be asked of the kernel
	nextGroup, nextScratch time.Time
}

// Sampler returns what looks at this cell's limits, nil where there is nothing to look at.
func (c *Cell) Sampler() *Sampler {
	l := &c.limits
	s := &Sampler{cell: c,
		memory:  l.MemoryMax > 0 && !c.memoryByGroup(),
		pids:    l.PidsMax > 0 && !c.pidsByGroup() && c.identity == nil,
		scratch: l.ScratchMax > 0 && !c.scratchByMount(),
		groups:  l.MemoryMax > 0 && c.memoryByGroup() || l.PidsMax > 0 && c.pidsByGroup()}
	if !s.memory && !s.pids && !s.scratch && !s.groups {
		return nil
	}
	return s
}

// Look returns the limit that has been exceeded, nil if none has.
func (s *Sampler) Look(now time.Time) *Breach {
	if s.memory || s.pids {
		if b := s.lookAtTree(); b != nil {
			return b
		}
	}
	if s.groups && !now.Before(s.nextGroup.Add(-groupInterval/2)) {
		s.nextGroup = now.Add(groupInterval)
		if oom, pids := s.cell.hits(); oom > 0 || pids > 0 {
			return s.cell.Breach(s.cell.Usage())
		}
	}
	if s.scratch && !now.Before(s.nextScratch) {
		s.nextScratch = now.Add(scratchInterval)
		if size := folderSize(s.cell.work); size > s.cell.limits.ScratchMax {
			return &Breach{Detail: fmt.Sprintf("scratch limit %s exceeded, %s found", Bytes(s.cell.limits.ScratchMax), Bytes(size))}
		}
	}
	return nil
}

func (s *Sampler) lookAtTree() *Breach {
	c := s.cell
	leader := c.leaderPID()
	if leader == 0 {
		return nil
	}
	var memory int64
	pids := 0
	for _, pid := range treeOf(append([]int{leader}, c.orphans()...)...) {
		if st, ok := statOf(pid); ok && st.state != 'Z' {
			memory += st.rss
			pids += st.threads
		}
	}
	c.mu.Lock()
	c.peak = max(c.peak, memory)
	c.mu.Unlock()
	switch l := &c.limits; {
	case s.memory && memory > l.MemoryMax:
		return c.memoryBreach(memory)
	case s.pids && pids > l.PidsMax:
		return &Breach{Detail: fmt.Sprintf("limit of %d processes and threads exceeded, %d found", l.PidsMax, pids)}
	}
	return nil
}

func (c *Cell) memoryBreach(peak int64) *Breach {
	detail := fmt.Sprintf("memory limit %s exceeded", Bytes(c.limits.MemoryMax))
	if peak > 0 {
		detail += ", peak " + Bytes(peak)
	}
	return &Breach{Memory: true, Detail: detail}
}

// Breach returns the limit that the kernel has had to enforce, by what it tells; nil if none.
func (c *Cell) Breach(u Usage) *Breach {
	switch {
	case u.OOMKills > 0:
		return c.memoryBreach(u.PeakMemory)
	case u.PidsHits > 0:
		return &Breach{Detail: fmt.Sprintf("limit of %d processes and threads reached", c.limits.PidsMax)}
	}
	return nil
}

// maxEntries bounds how many entries of a work folder are looked at: a plugin decides how
// many there are.
const maxEntries = 100_000

// folderSize returns the bytes of the files below a folder.
func folderSize(dir string) (size int64) {
	n := 0
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if n++; n > maxEntries {
			return fs.SkipAll
		}
		if err != nil {
			return nil // it has gone meanwhile
		}
		if d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	return size
}

// Interval returns how often it is worth looking.
func (s *Sampler) Interval() time.Duration {
	switch {
	case s.memory || s.pids:
		return SampleInterval
	default:
		return groupInterval
	}
}
