package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backplane/leptir/host/process/sandbox"
)

// runDir is the folder of a host's sockets and scratch folders. A lock on a file in it lives
// as long as the host does, so that the folders of hosts that were killed can be told from
// those of hosts that live. The file says what else such a host may have left.
type runDir struct {
	path string
	lock *os.File
}

const (
	lockName = "lock"
	// parentLock is locked while run folders are made and swept, so that nobody takes a
	// folder for a dead host's that is about to get its lock.
	parentLock    = ".lock"
	parentTimeout = 30 * time.Second
	// maxRemains bounds what is read of a dead host's file.
	maxRemains = 64 << 10
)

// Who may enter a run folder: the host's user alone, or those as well whose processes have
// their own folders in it.
const (
	modePrivate os.FileMode = 0o700
	modePublic  os.FileMode = 0o711
)

// newRunDir makes a run folder below parent, and clears away what hosts that are gone have
// left there: killed is how many processes of theirs were still running. Not all that is left
// need be this host's to remove: swept says what could not be.
func newRunDir(parent string, mode os.FileMode, remains sandbox.Remains) (d *runDir, killed int, swept error, err error) {
	if err := makeParent(parent, mode); err != nil {
		return nil, 0, nil, err
	}
	lock, err := lockParent(parent)
	if err != nil {
		return nil, 0, nil, err
	}
	defer lock.Close()
	killed, swept = sweepRunDirs(parent)
	path, err := os.MkdirTemp(parent, "run-")
	if err != nil {
		return nil, killed, swept, err
	}
	d = &runDir{path: path}
	if err = d.begin(mode, remains); err != nil {
		_ = os.RemoveAll(path)
		return nil, killed, swept, err
	}
	return d, killed, swept, nil
}

func makeParent(parent string, mode os.FileMode) error {
	if err := os.MkdirAll(parent, mode); err != nil {
		return err
	}
	// Its name may be known to others (it can lie in /tmp), who must not own it.
	var st unix.Stat_t
	if err := unix.Lstat(parent, &st); err != nil {
		return fmt.Errorf("look at %s: %w", parent, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s is not a folder that only the host's user can write; remove it, or set state_dir to a short path in host {}", parent)
	}
	if mode == modePublic && st.Mode&0o011 != 0o011 {
		return os.Chmod(parent, mode)
	}
	return nil
}

// lockParent waits until nobody else makes or sweeps run folders there.
func lockParent(parent string) (*os.File, error) {
	for end := time.Now().Add(parentTimeout); ; {
		lock, err := lockFile(filepath.Join(parent, parentLock), os.O_CREATE)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			return lock, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// begin locks the folder and writes down what the host may leave behind.
func (d *runDir) begin(mode os.FileMode, remains sandbox.Remains) (err error) {
	if err := os.Chmod(d.path, mode); err != nil {
		return err
	}
	if d.lock, err = lockFile(filepath.Join(d.path, lockName), os.O_CREATE); err != nil {
		return err
	}
	b, err := json.Marshal(remains)
	if err == nil {
		_, err = d.lock.Write(b)
	}
	if err != nil {
		d.lock.Close()
	}
	return err
}

// sweepRunDirs clears away what hosts have left that are gone.
func sweepRunDirs(parent string) (killed int, err error) {
	paths, _ := filepath.Glob(filepath.Join(parent, "run-*"))
	var dead []sandbox.Remains
	var dirs []string
	for _, dir := range paths {
		lock, err := lockFile(filepath.Join(dir, lockName), 0)
		switch {
		case err == nil:
			defer lock.Close()
			var r sandbox.Remains
			b, err := io.ReadAll(io.LimitReader(lock, maxRemains))
			if err == nil && json.Unmarshal(b, &r) == nil {
				dead = append(dead, r)
			}
			dirs = append(dirs, dir)
		case errors.Is(err, os.ErrNotExist): // its host died before it could lock it
			dirs = append(dirs, dir)
		}
	}
	if len(dead) > 0 {
		killed, err = sandbox.SweepRemains(dead)
	}
	for _, dir := range dirs {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return killed, err
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
