package logging

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// replaceWait is how long sinks that have been replaced are waited for by Replace, if they
// are writing a line just then.
const replaceWait = 2 * time.Second

// Sinks is the set of sinks behind a logger. It is safe for concurrent use.
type Sinks struct {
	set  atomic.Pointer[sinkSet]
	gone atomic.Uint64 // write errors of sinks that have been replaced
	mu   sync.Mutex    // of all sinkSets' users and idle
}

var _ io.Closer = (*Sinks)(nil)

// sinkSet is the sinks as they are until they are replaced.
type sinkSet struct {
	sinks []Sink
	users int           // lines that are being handed to them
	idle  chan struct{} // closed when there are no users any more, once they are replaced
}

// Close closes all sinks and returns what went wrong, joined.
func (s *Sinks) Close() error { return closeAll(s.set.Load().sinks) }

func closeAll(sinks []Sink) error {
	errs := make([]error, len(sinks))
	var wg sync.WaitGroup // each may take its time
	for i, sink := range sinks {
		wg.Go(func() { errs[i] = sink.Close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Reopen reopens all sinks that can be and returns what went wrong, joined.
func (s *Sinks) Reopen() error {
	var errs []error
	for _, sink := range s.set.Load().sinks {
		if r, ok := sink.(Reopener); ok {
			errs = append(errs, r.Reopen())
		}
	}
	return errors.Join(errs...)
}

// WriteErrors returns how many lines could not be written, over all sinks.
func (s *Sinks) WriteErrors() uint64 {
	n := s.gone.Load()
	for _, sink := range s.set.Load().sinks {
		n += sink.WriteErrors()
	}
	return n
}

// Replace makes next the sinks of the logger, and of all loggers derived from it. Sinks that
// are not among them are closed once no line is on its way to them; no line is lost between
// the two. What goes wrong with the closing is returned, joined. Replace must not be called
// by two at once.
func (s *Sinks) Replace(next ...Sink) error {
	s.mu.Lock()
	old := s.set.Swap(&sinkSet{sinks: next})
	if old.users > 0 {
		old.idle = make(chan struct{})
	}
	s.mu.Unlock()
	if old.idle != nil {
		timer := time.NewTimer(replaceWait)
		defer timer.Stop()
		select {
		case <-old.idle:
		case <-timer.C: // a file on a disk that hangs, perhaps
		}
	}
	gone := slices.DeleteFunc(slices.Clone(old.sinks), func(sink Sink) bool { return slices.Contains(next, sink) })
	err := closeAll(gone)
	for _, sink := range gone {
		s.gone.Add(sink.WriteErrors())
	}
	return err
}

// use returns the sinks as they are now; release must be called with them.
func (s *Sinks) use() *sinkSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.set.Load()
	set.users++
	return set
}

func (s *Sinks) release(set *sinkSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set.users--
	if set.users == 0 && set.idle != nil {
		close(set.idle)
	}
}

// fanout hands records to the sinks that there are at the time.
type fanout struct {
	sinks *Sinks
	with  []func(slog.Handler) slog.Handler
	ready atomic.Pointer[derived]
}

// derived is the handlers of a set of sinks with a logger's own attributes and groups.
type derived struct {
	set      *sinkSet
	handlers []slog.Handler
}

// Enabled reports whether any sink wants the level.
func (f *fanout) Enabled(ctx context.Context, level slog.Level) bool {
	for _, sink := range f.sinks.set.Load().sinks {
		if sink.Enabled(ctx, level) {
			return true
		}
	}
	return false
}

// Handle hands the record to every sink that wants its level.
func (f *fanout) Handle(ctx context.Context, r slog.Record) error {
	set := f.sinks.use()
	defer f.sinks.release(set)
	var errs []error
	for _, h := range f.handlers(set) {
		if h.Enabled(ctx, r.Level) {
			errs = append(errs, h.Handle(ctx, r.Clone()))
		}
	}
	return errors.Join(errs...)
}

func (f *fanout) handlers(set *sinkSet) []slog.Handler {
	if d := f.ready.Load(); d != nil && d.set == set {
		return d.handlers
	}
	d := &derived{set: set, handlers: make([]slog.Handler, len(set.sinks))}
	for i, sink := range set.sinks {
		d.handlers[i] = sink
		for _, change := range f.with {
			d.handlers[i] = change(d.handlers[i])
		}
	}
	f.ready.Store(d)
	return d.handlers
}

// WithAttrs returns the fan-out with the attributes added for every sink.
func (f *fanout) WithAttrs(attrs []slog.Attr) slog.Handler {
	return f.derive(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

// WithGroup returns the fan-out with the group opened for every sink.
func (f *fanout) WithGroup(name string) slog.Handler {
	return f.derive(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (f *fanout) derive(change func(slog.Handler) slog.Handler) slog.Handler {
	return &fanout{sinks: f.sinks, with: append(slices.Clip(f.with), change)}
}
