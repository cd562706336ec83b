package process

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// runDir is the folder of a host's sockets and scratch folders. A lock on it lives as long
// as the host does, so that the folders of hosts that were killed can be told from those of
// hosts that live.
type runDir struct {
	path string
	lock *os.File
}

const lockName = "lock"

// newRunDir makes a run folder below parent, and removes those whose hosts are gone.
func newRunDir(parent string) (*runDir, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	// Its name may be known to others (it can lie in /tmp), who must not own it.
	var st unix.Stat_t
	if err := unix.Lstat(parent, &st); err != nil {
		return nil, fmt.Errorf("look at %s: %w", parent, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("%s is not a folder that only the host's user can write; remove it, or set state_dir to a short path in host {}", parent)
	}
	sweepRunDirs(parent)
	path, err := os.MkdirTemp(parent, "run-")
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(path, lockName), os.O_CREATE)
	if err != nil {
		_ = os.RemoveAll(path)
		return nil, err
	}
	return &runDir{path: path, lock: lock}, nil
}

// sweepRunDirs removes the run folders of hosts that are gone.
func sweepRunDirs(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, "run-*"))
	for _, dir := range dirs {
		// A folder without a lock file is about to get one.
		lock, err := lockFile(filepath.Join(dir, lockName), 0)
		if err != nil {
			continue
		}
		_ = os.RemoveAll(dir)
		lock.Close()
	}
}

// lockFile opens a file and locks it; it fails if somebody else has it.
func lockFile(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// remove removes the folder and gives up its lock.
func (d *runDir) remove() error {
	err := os.RemoveAll(d.path)
	d.lock.Close()
	return err
}
