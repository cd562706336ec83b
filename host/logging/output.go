package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

var errSinkClosed = errors.New("log sink is closed")

// output writes lines, one at a time, and counts those that failed.
type output struct {
	mu     sync.Mutex
	w      io.Writer // nil once closed
	errors atomic.Uint64
}

// Write writes one line.
func (o *output) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := 0, errSinkClosed
	if o.w != nil {
		n, err = o.w.Write(line)
	}
	if err != nil {
		o.errors.Add(1)
	}
	return n, err
}

// WriteErrors returns how many lines could not be written.
func (o *output) WriteErrors() uint64 { return o.errors.Load() }

// sink joins an output to the handler that writes to it.
type sink struct {
	slog.Handler
	*output
}

// Close ends the writing; what is written to is not the sink's to close.
func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = nil
	return nil
}

// fileSink is a sink whose output is a file of its own.
type fileSink struct {
	sink
	path string

	// Guarded by output.mu:
	file   *os.File
	closed bool
}

var _ Reopener = (*fileSink)(nil)

// Reopen opens the path anew, making file and folder if need be, and closes the file that
// was written to before.
func (s *fileSink) Reopen() error {
	file, err := openLog(s.path)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	s.mu.Lock()
	old := s.file
	if s.closed {
		old = file
	} else {
		s.file, s.w = file, file
	}
	closed := s.closed
	s.mu.Unlock()
	if old != nil {
		old.Close() // its lines are written; there is nothing to be done about an error
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
	s.file, s.w, s.closed = nil, nil, true
	s.mu.Unlock()
	if file == nil {
		return nil
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	return nil
}

// openLog opens a log file for appending. Errors name the path.
func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", path, err)
	}
	// O_NONBLOCK: opening a named pipe that nobody reads must fail, not hang.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() && info.Mode()&os.ModeCharDevice == 0 {
		err = fmt.Errorf("%s is not a file that can be appended to", path)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
