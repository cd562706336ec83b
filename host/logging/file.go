package logging

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var errSinkClosed = errors.New("log sink is closed")

// fileSink writes to a file of its own, before Handle returns: what has been logged is in
// the file whatever happens to the host.
type fileSink struct {
	*handler
	path    string
	maxSize int64 // 0: never rotated
	keep    int
	errors  atomic.Uint64

	mu       sync.Mutex // held over writing, or lines would mix
	file     *os.File   // nil once closed
	closed   bool
	size     int64
	rotateAt int64 // 0 for what is no regular file
}

var _ Reopener = (*fileSink)(nil)

// WriteErrors returns how many lines could not be written.
func (s *fileSink) WriteErrors() uint64 { return s.errors.Load() }

func (s *fileSink) take(e entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.write(e.line)
	if err != nil {
		s.errors.Add(1)
	}
	return err
}

// write writes a line, to a new file where the old one is full. s.mu is held.
func (s *fileSink) write(line []byte) error {
	if s.file == nil {
		return errSinkClosed
	}
	if s.rotateAt > 0 && s.size > 0 && s.size+int64(len(line)) > s.rotateAt {
		if err := s.rotate(); err != nil {
			// The lines go on where they went; after some more it is tried again.
			s.rotateAt = s.size + max(leastMaxSize, s.maxSize/10)
			s.append(s.notice("the log file cannot be rotated", slog.String("error", err.Error())))
		}
	}
	return s.append(line)
}

func (s *fileSink) append(line []byte) error {
	n, err := s.file.Write(line)
	s.size += int64(n)
	return err
}

// notice makes a line of the sink's own.
func (s *fileSink) notice(message string, attrs ...slog.Attr) []byte {
	r := slog.NewRecord(time.Now(), slog.LevelWarn, message, 0)
	r.AddAttrs(attrs...)
	own := handler{json: s.json}
	e, _ := own.entry(context.Background(), r) // it goes into memory, and holds texts only
	return e.line
}

// rotate moves the file away and starts a new one. s.mu is held.
func (s *fileSink) rotate() error {
	mine, err := s.file.Stat()
	if err != nil {
		return err
	}
	// Where somebody else has moved it, there is nothing to be moved.
	if there, err := os.Lstat(s.path); err == nil && os.SameFile(mine, there) {
		if err := s.moveAway(); err != nil {
			return err
		}
	}
	file, size, regular, err := openLog(s.path)
	if err != nil {
		return err
	}
	s.file.Close() // its lines are written; there is nothing to be done about an error
	s.use(file, size, regular)
	return nil
}

// moveAway makes the file FILE.1, that before it FILE.2, and so on.
func (s *fileSink) moveAway() error {
	if s.keep == 0 {
		return os.Remove(s.path)
	}
	if err := s.file.Chmod(0o600); err != nil {
		return err
	}
	for n := s.keep; n > 0; n-- {
		from := s.path
		if n > 1 {
			from += "." + strconv.Itoa(n-1)
		}
		if err := os.Rename(from, s.path+"."+strconv.Itoa(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// use takes a file that has just been opened into use. s.mu is held.
func (s *fileSink) use(file *os.File, size int64, regular bool) {
	s.file, s.size, s.rotateAt = file, size, 0
	if regular {
		s.rotateAt = s.maxSize
	}
}

// Reopen opens the path anew, making file and folder if need be, and closes the file that
// was written to before.
func (s *fileSink) Reopen() error {
	file, size, regular, err := openLog(s.path)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	s.mu.Lock()
	old := s.file
	if s.closed {
		old = file
	} else {
		s.use(file, size, regular)
	}
	closed := s.closed
	s.mu.Unlock()
	if old != nil {
		old.Close() // as above
	}
	if closed {
		return fmt.Errorf("log file: reopen %s: %w", s.path, errSinkClosed)
	}
	return nil
}

// Close closes the file.
func (s *fileSink) Close() error {
	s.mu.Lock()
	file := s.file
	s.file, s.closed = nil, true
	s.mu.Unlock()
	if file == nil {
		return nil
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	return nil
}

// openLog opens a log file for appending, and returns its size and whether it is a regular
// file. Errors name the path.
func openLog(path string) (file *os.File, size int64, regular bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, 0, false, fmt.Errorf("make the folder of %s: %w", path, err)
	}
	// O_NONBLOCK: opening a named pipe that nobody reads must fail, not hang.
	file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, 0, false, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() && info.Mode()&os.ModeCharDevice == 0 {
		err = fmt.Errorf("%s is not a file that can be appended to", path)
	}
	if err != nil {
		file.Close()
		return nil, 0, false, err
	}
	return file, info.Size(), info.Mode().IsRegular(), nil
}
