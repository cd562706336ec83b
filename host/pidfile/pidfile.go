// Package pidfile owns pid files: how a host says that it runs, and how others find the very
// process and no other. A pid file is locked for as long as its process lives, and names it
// by its pid, the time of its start and the start of the machine. Package pidfile knows
// nothing of what the process does.
package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// maxBytes is the size of the largest pid file that is read.
const maxBytes = 4 << 10

// RunningError says that the process of a pid file lives.
type RunningError struct {
	Path string
	// PID is 0 where the file is locked and does not say by whom.
	PID int
}

// Error names the file and, where that is known, the process.
func (e *RunningError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("pid file %s: another process holds it", e.Path)
	}
	return fmt.Sprintf("pid file %s: it runs already, as process %d", e.Path, e.PID)
}

// File is this process's own pid file.
type File struct {
	path string
	file *os.File
}

// Acquire makes path the pid file of this process. Where one is there whose process lives,
// the error is a *RunningError; one whose process has ended is replaced, and its pid
// returned as stale. A file that is not a pid file is left alone. Release must be called at
// the end.
func Acquire(path string) (f *File, stale int, err error) {
	self, err := Self()
	if err != nil {
		return nil, 0, fmt.Errorf("pid file %s: %w", path, err)
	}
	file, err := openLocked(path)
	if err != nil {
		return nil, 0, err
	}
	stale, err = takeOver(path, file, self)
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return &File{path: path, file: file}, stale, nil
}

// openLocked opens and locks the file at path.
func openLocked(path string) (*os.File, error) {
	for {
		// Neither a link nor a pipe that somebody has put there.
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, fmt.Errorf("pid file: %w", err)
		}
		info, err := file.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = errors.New("it is not a file")
		}
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("pid file %s: %w", path, err)
		}
		if err := lock(file); err != nil {
			id, _ := read(file) // if it cannot be read, there is no more to be said
			file.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, &RunningError{Path: path, PID: id.PID}
			}
			return nil, fmt.Errorf("pid file %s: lock it: %w", path, err)
		}
		// Its process may have ended between the two and removed it.
		if there, err := os.Lstat(path); err == nil && os.SameFile(info, there) {
			return file, nil
		}
		file.Close()
	}
}

// lock locks the file for as long as it is open. Processes that are started do not get it.
func lock(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var lockErr error
	err = raw.Control(func(fd uintptr) { lockErr = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) })
	return errors.Join(err, lockErr)
}

// takeOver writes self into the file, if it is nobody else's.
func takeOver(path string, file *os.File, self Identity) (stale int, err error) {
	text, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return 0, fmt.Errorf("pid file %s: %w", path, err)
	}
	// What a machine that lost its power leaves may be empty, or all zeroes.
	if text = bytes.Trim(text, "\x00 \n"); len(text) > 0 {
		old, err := parse(text)
		bare, bareErr := strconv.Atoi(string(text))
		switch {
		case bareErr == nil:
			stale = bare // what has this pid now may be anything; a host would hold the lock
		case err != nil:
			return 0, fmt.Errorf("%s is not a pid file of leptir-host: %w; remove it or name another", path, err)
		default:
			running, err := old.Running()
			if err != nil {
				return 0, fmt.Errorf("pid file %s: %w", path, err)
			}
			if running && old != self {
				return 0, &RunningError{Path: path, PID: old.PID}
			}
			stale = old.PID
		}
	}
	line := []byte(self.String())
	if _, err = file.WriteAt(line, 0); err == nil {
		err = file.Truncate(int64(len(line)))
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		return 0, fmt.Errorf("write pid file %s: %w", path, err)
	}
	return stale, nil
}

// Release removes the pid file, unless another has taken its place.
func (f *File) Release() error {
	defer f.file.Close() // which unlocks it, after it is gone
	mine, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("pid file %s: %w", f.path, err)
	}
	there, err := os.Lstat(f.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(mine, there) {
		return nil
	}
	if err == nil {
		err = os.Remove(f.path)
	}
	if err != nil {
		return fmt.Errorf("remove pid file: %w", err)
	}
	return nil
}

// Read returns what process a pid file names. It need not run any more. The error is one of
// fs.ErrNotExist where there is no such file. A process that is not that of the file's owner
// is refused: who may write a pid file must not choose what others send signals to.
func Read(path string) (Identity, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Identity{}, fmt.Errorf("pid file: %w", err)
	}
	defer file.Close()
	id, err := read(file)
	if err != nil {
		return Identity{}, fmt.Errorf("%s is not a pid file of leptir-host: %w", path, err)
	}
	info, err := file.Stat()
	if err != nil {
		return Identity{}, fmt.Errorf("pid file %s: %w", path, err)
	}
	if by, ok := info.Sys().(*syscall.Stat_t); ok && by.Uid != 0 {
		if uid, err := owner(id.PID); err == nil && uid != by.Uid {
			if running, _ := id.Running(); running {
				return Identity{}, fmt.Errorf("pid file %s belongs to user %d, but names process %d of user %d; it is not to be trusted", path, by.Uid, id.PID, uid)
			}
		}
	}
	return id, nil
}

func read(file *os.File) (Identity, error) {
	text := make([]byte, maxBytes)
	n, err := file.ReadAt(text, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Identity{}, err
	}
	return parse(text[:n])
}

// String returns the contents of the pid file: the pid in the first line, where other
// programs look for it.
func (id Identity) String() string {
	return fmt.Sprintf("%d\nstart %d\nboot %s\n", id.PID, id.Start, id.Boot)
}

var errForm = errors.New("it does not have the lines pid, start and boot")

// parse reads the contents of a pid file.
func parse(text []byte) (Identity, error) {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != 3 {
		return Identity{}, errForm
	}
	pid, err := strconv.ParseInt(lines[0], 10, 32)
	if err != nil || pid < 1 {
		return Identity{}, errForm
	}
	text1, ok1 := strings.CutPrefix(lines[1], "start ")
	boot, ok2 := strings.CutPrefix(lines[2], "boot ")
	start, err := strconv.ParseUint(text1, 10, 64)
	if err != nil || !ok1 || !ok2 || len(boot) != 36 {
		return Identity{}, errForm
	}
	return Identity{PID: int(pid), Start: start, Boot: boot}, nil
}
