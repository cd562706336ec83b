package logging

import (
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
)

// ToWriter returns a sink that writes lines for people, of the level and above, to w,
// which stays the caller's to close. Like a file, it has a line before the logging call
// returns.
func ToWriter(w io.Writer, level slog.Level) Sink {
	s := &writerSink{handler: &handler{level: level}, w: w}
	s.out = s
	return s
}

type writerSink struct {
	*handler
	errors atomic.Uint64

	mu sync.Mutex // held over writing, or lines would mix
	w  io.Writer  // nil once closed
}

func (s *writerSink) take(e entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := errSinkClosed
	if s.w != nil {
		_, err = s.w.Write(e.line)
	}
	if err != nil {
		s.errors.Add(1)
	}
	return err
}

// WriteErrors returns how many lines could not be written.
func (s *writerSink) WriteErrors() uint64 { return s.errors.Load() }

// Close ends the writing.
func (s *writerSink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = nil
	return nil
}
