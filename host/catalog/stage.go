package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxBinaryBytes bounds a plugin binary: a larger file is something else.
	maxBinaryBytes = 1 << 30
	// keptCopies is how many copies of a name are kept beside those in use.
	keptCopies = 2
	// forkWait is how long a child may take from fork to exec.
	forkWait = time.Second
	// strayAge is the age from which a copy that was not finished is nobody's.
	strayAge = time.Hour
)

var (
	// errChanged says that a file changed while it was read.
	errChanged = errors.New("it has changed meanwhile")
	// errBeingWritten says that somebody has a file open for writing.
	errBeingWritten = errors.New("another process has it open for writing; it is taken up once that process closes it")
)

// stage keeps private copies of plugin binaries, at <sha256>/<name>, where nobody but the
// host's user can change them: what was probed is what runs.
type stage struct {
	dir    string
	uid    uint32
	hashed atomic.Int64 // files that were read whole
}

// openStage makes the folder for the copies below the state folder.
func openStage(stateDir string, uid uint32) (*stage, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	s := &stage{dir: filepath.Join(stateDir, "plugins"), uid: uid}
	if err := os.Mkdir(s.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the folder for copies of plugins: %w", err)
	}
	for _, dir := range []string{stateDir, s.dir} {
		fi, err := os.Stat(dir)
		if err != nil {
			return nil, fmt.Errorf("state folder: %w", err)
		}
		if why := distrust(dir, fi.Sys().(*syscall.Stat_t), uid); why != "" {
			return nil, fmt.Errorf("state folder %s", why)
		}
	}
	if err := os.Chmod(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder for copies of plugins: %w", err)
	}
	return s, nil
}

// add copies a file in while hashing it, and returns the copy's path and sha256. It fails
// with errChanged or errBeingWritten, and leaves nothing behind then, if the file is not
// the one that was found or is still being written.
func (s *stage) add(f *found) (path, sum string, err error) {
	src, err := os.OpenFile(f.print.target, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", errChanged
	}
	if err != nil {
		return "", "", fmt.Errorf("read it: %w", err)
	}
	defer src.Close()
	if err := s.unchanged(src, f); err != nil {
		return "", "", err
	}
	if f.print.size > maxBinaryBytes {
		return "", "", fmt.Errorf("it is %d MiB large, at most %d are allowed", f.print.size>>20, maxBinaryBytes>>20)
	}
	if beingWritten(src) {
		return "", "", errBeingWritten
	}
	dst, err := os.CreateTemp(s.dir, ".new-")
	if err != nil {
		return "", "", fmt.Errorf("copy it: %w", err)
	}
	defer os.Remove(dst.Name()) // fails once it has its name
	s.hashed.Add(1)
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(dst, hash), io.LimitReader(src, f.print.size+1))
	if err == nil {
		// By others, too: a user that the plugin runs as cannot come here, and is handed the
		// file opened.
		err = dst.Chmod(0o555)
	}
	if cerr := dst.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return "", "", fmt.Errorf("copy it: %w", err)
	}
	if n != f.print.size {
		return "", "", errChanged
	}
	if err := s.unchanged(src, f); err != nil {
		return "", "", err
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	path = filepath.Join(s.dir, sum, f.name)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", "", fmt.Errorf("copy it: %w", err)
	}
	if err := os.Rename(dst.Name(), path); err != nil {
		return "", "", fmt.Errorf("copy it: %w", err)
	}
	awaitForks(path)
	return path, sum, nil
}

// awaitForks waits until no child holds a copy open for writing. One that was forked while
// the copy was written does so until its exec has closed it, and a start of the copy would
// fail meanwhile: "text file busy" (golang/go#22315). To hold syscall.ForkLock for writing
// the copy would prevent that, but stop the starts of all plugins for as long; to take it
// afterwards is not enough, since it is released a moment before the exec closes files.
func awaitForks(path string) {
	f, err := os.Open(path)
	if err != nil {
		return // whoever starts it will say so
	}
	defer f.Close()
	for range forkWait / time.Millisecond {
		if !beingWritten(f) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// unchanged fails with errChanged unless the open file is, still, the one that was found.
func (s *stage) unchanged(file *os.File, f *found) error {
	fi, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	now := fingerprint{target: f.print.target, dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
	if !fi.Mode().IsRegular() || now != f.print {
		return errChanged
	}
	return nil
}

// beingWritten reports whether a process of this machine has the file open for writing.
// The kernel grants a read lease only if none has; where it grants none at all (another's
// file, a network file system) the answer is no.
func beingWritten(file *os.File) bool {
	raw, err := file.SyscallConn()
	if err != nil {
		return false
	}
	written := false
	_ = raw.Control(func(fd uintptr) {
		_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
		written = errors.Is(err, unix.EAGAIN)
		if err == nil {
			_, _ = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		}
	})
	return written
}

// stagedCopy is one copy in the stage.
type stagedCopy struct {
	path, sum string
	at        time.Time // when it was made; the zero of unix time if it did not do
}

// copies returns all copies by name, the newest first.
func (s *stage) copies() map[string][]stagedCopy {
	byName := map[string][]stagedCopy{}
	sums, _ := os.ReadDir(s.dir)
	for _, d := range sums {
		if !d.IsDir() {
			continue
		}
		files, _ := os.ReadDir(filepath.Join(s.dir, d.Name()))
		for _, f := range files {
			if fi, err := f.Info(); err == nil && fi.Mode().IsRegular() {
				byName[f.Name()] = append(byName[f.Name()], stagedCopy{filepath.Join(s.dir, d.Name(), f.Name()), d.Name(), fi.ModTime()})
			}
		}
	}
	for _, c := range byName {
		slices.SortFunc(c, func(a, b stagedCopy) int { return b.at.Compare(a.at) })
	}
	return byName
}

// demote marks a copy as one that did not do: earlier does not offer it, and it is the
// first to be removed.
func (s *stage) demote(path string) { _ = os.Chtimes(path, time.Unix(0, 0), time.Unix(0, 0)) }

// earlier returns copies of a name from before, the newest first, that may do: they were
// not demoted, and their contents still have the sum that they are filed under.
func (s *stage) earlier(name string) []stagedCopy {
	return slices.DeleteFunc(s.copies()[name], func(c stagedCopy) bool {
		return c.at.Unix() == 0 || !s.intact(c)
	})
}

func (s *stage) intact(c stagedCopy) bool {
	f, err := os.OpenFile(c.path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	hash := sha256.New()
	s.hashed.Add(1)
	_, err = io.Copy(hash, f)
	return err == nil && hex.EncodeToString(hash.Sum(nil)) == c.sum
}

// prune removes the copies of a name but the newest keptCopies and those whose sum is in
// use.
func (s *stage) prune(name string, inUse []string) { s.remove(s.copies()[name], inUse) }

// sweep removes what earlier hosts have left: unfinished copies, and of each name all but
// the newest keptCopies.
func (s *stage) sweep(now time.Time) {
	for _, copies := range s.copies() {
		s.remove(copies, nil)
	}
	files, _ := os.ReadDir(s.dir)
	for _, f := range files {
		if fi, err := f.Info(); err == nil && strings.HasPrefix(f.Name(), ".new-") && now.Sub(fi.ModTime()) > strayAge {
			_ = os.Remove(filepath.Join(s.dir, f.Name()))
		}
	}
}

func (s *stage) remove(copies []stagedCopy, inUse []string) {
	for _, c := range copies[min(keptCopies, len(copies)):] {
		if !slices.Contains(inUse, c.sum) {
			_ = os.Remove(c.path)
			_ = os.Remove(filepath.Dir(c.path)) // fails while other names are in it
		}
	}
}
