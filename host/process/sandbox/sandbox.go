package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// SampleInterval is how often a limit is looked at that the kernel does not enforce, and
	// whether one has been hit that it does.
	SampleInterval = 50 * time.Millisecond
	// scratchInterval is how often the size of a work folder is looked at that is not limited
	// by the kernel.
	scratchInterval = 250 * time.Millisecond
	// removeTimeout is how long the groups of a dead process may take to be empty.
	removeTimeout = 5 * time.Second
	// lockTimeout is how long a new group of a run may be in the hands of others.
	lockTimeout = time.Second
)

// Sandbox makes cells for the processes of one host. It is safe for concurrent use.
type Sandbox struct {
	machine *Machine
	run     string
	trees   map[string]string // controller of version 1, or "" of version 2, to this run's group

	mu     sync.Mutex
	opened map[string]error // of trees, what came of making it
	locks  []*os.File       // on this run's groups, for as long as it lives
	v2has  []string         // controllers that cells have by version 2
	quotas bool             // the processor's has been asked for, too
}

// New returns the Sandbox of a run of a host, which is a random name. It makes nothing yet.
func New(m *Machine, run string) *Sandbox {
	s := &Sandbox{machine: m, run: run, trees: map[string]string{}, opened: map[string]error{}}
	name := groupPrefix + run
	if m.hierarchies.v2 != nil {
		if base, err := m.hierarchies.v2.base(); err == nil {
			s.trees[""] = filepath.Join(base, name)
		}
	}
	for c, h := range m.hierarchies.v1 {
		s.trees[c] = filepath.Join(h.parent, name)
	}
	return s
}

const groupPrefix = "leptir-"

// Groups returns the cgroups that this run may make, to be swept should it be killed.
func (s *Sandbox) Groups() (dirs []string) {
	for _, dir := range s.trees {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return dirs
}

// Close removes what the cells have left of groups. All cells have been closed.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for tree, err := range s.opened {
		if err == nil {
			if err := removeGroup(s.trees[tree]); err != nil {
				errs = append(errs, err)
			}
		}
	}
	s.opened = map[string]error{}
	for _, lock := range s.locks {
		lock.Close()
	}
	s.locks = nil
	return errors.Join(errs...)
}

// open makes this run's group in a tree, once.
func (s *Sandbox) open(tree string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir, ok := s.trees[tree]
	if !ok {
		return "", errors.ErrUnsupported
	}
	err, done := s.opened[tree]
	if done {
		return dir, err
	}
	if tree == "" {
		base := filepath.Dir(dir)
		if err = os.MkdirAll(base, 0o755); err == nil {
			wanted := s.wantedOfV2("memory", "pids")
			for _, above := range s.machine.hierarchies.v2.path(base) {
				v2Give(above, wanted...)
			}
			if err = s.make(dir); err == nil {
				v2Give(dir, wanted...)
				s.v2has, s.quotas = v2Given(dir), false
			}
		}
	} else if err = os.MkdirAll(filepath.Dir(dir), 0o755); err == nil {
		err = s.make(dir)
	}
	s.opened[tree] = err
	return dir, err
}

// whyNot says what has kept this run's group of a controller from being made, or from having it.
func (s *Sandbox) whyNot(controller string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tree := ""
	if _, ok := s.machine.hierarchies.v1[controller]; ok {
		tree = controller
	}
	if err := s.opened[tree]; err != nil {
		return err.Error()
	}
	return "the controller is not handed down"
}

// child makes a group in this run's group of a tree. That one is made anew if somebody has
// removed it, for example a tool that clears empty groups away. opened is false where there
// can be none.
func (s *Sandbox) child(tree, name string) (dir string, opened bool, err error) {
	for try := 0; ; try++ {
		parent, err := s.open(tree)
		if err != nil {
			return "", false, err
		}
		dir = filepath.Join(parent, name)
		err = os.Mkdir(dir, 0o755)
		if try > 0 || !errors.Is(err, os.ErrNotExist) {
			return dir, true, err
		}
		s.removed(parent)
	}
}

// removed forgets a group that is gone, so that it is made anew.
func (s *Sandbox) removed(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Stat(dir); err == nil {
		return // another has made it meanwhile
	}
	for tree, d := range s.trees {
		if d == dir {
			delete(s.opened, tree)
		}
	}
	s.locks = slices.DeleteFunc(s.locks, func(f *os.File) bool {
		if f.Name() != dir {
			return false
		}
		f.Close()
		return true
	})
}

// make makes this run's group and locks it: a group whose lock is gone is a dead host's, and is
// swept by whoever makes the next one beside it. s.mu is held.
func (s *Sandbox) make(dir string) error {
	if slices.ContainsFunc(s.locks, func(f *os.File) bool { return f.Name() == dir }) {
		return nil // two controllers can share a tree
	}
	sweepSiblings(filepath.Dir(dir))
	for end := time.Now().Add(lockTimeout); ; { // others may take it for a dead host's before it is locked
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		lock, err := lockGroup(dir)
		if err == nil {
			s.locks = append(s.locks, lock)
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("cannot be locked: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// given returns the controllers that cells have by version 2. That of the processor is handed down
// for the first one that needs its quota: all cells then have a processor group, which costs each of their sleeps a
// little.
func (s *Sandbox) given(quota bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if quota && !s.quotas {
		s.quotas = true
		wanted, dir := s.wantedOfV2("cpu"), s.trees[""]
		for _, above := range append(s.machine.hierarchies.v2.path(filepath.Dir(dir)), dir) {
			v2Give(above, wanted...)
		}
		s.v2has = v2Given(dir)
	}
	return s.v2has
}

// wantedOfV2 are those of some controllers that version 1 does not have.
func (s *Sandbox) wantedOfV2(controllers ...string) (wanted []string) {
	for _, c := range controllers {
		if _, ok := s.machine.hierarchies.v1[c]; !ok {
			wanted = append(wanted, c)
		}
	}
	return wanted
}

// removeGroup removes a group and those below it, as soon as nothing lives there any more.
func removeGroup(dir string) error {
	end := time.Now().Add(removeTimeout)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("cgroup %s is not let go of: %w", dir, err)
		}
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.IsDir() {
				_ = os.Remove(filepath.Join(dir, e.Name()))
			}
		}
		time.Sleep(wait)
	}
}

// strict returns the error of limits that must be enforced and are not.
func (s *Sandbox) strict(l *Limits) error {
	gaps := s.machine.Gaps(*l)
	for _, g := range gaps {
		if g.Setting == "run_as" {
			return errors.New(g.String())
		}
	}
	if !l.Strict || len(gaps) == 0 {
		return nil
	}
	return strictError(gaps)
}

func strictError(gaps []Gap) error {
	texts := make([]string, len(gaps))
	for i, g := range gaps {
		texts[i] = g.String()
	}
	return fmt.Errorf("limits are strict, and this machine does not enforce all of them: %s", strings.Join(texts, "; "))
}
