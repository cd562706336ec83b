// Package logging owns where leptir's log lines go and what they look like: sinks, their
// kinds (stdout, stderr, file), the logger that hands every line to all of them, and the
// adapter for libraries that want an hclog.Logger. It knows nothing of the configuration
// language, of tasks or of processes: the lines of a task carry its id and type as plain
// attributes.
package logging

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/backplane/leptir/internal/registry"
)

// A Sink is one place that log lines are written to, with a level of its own.
//
// It is safe for concurrent use; lines are written whole, one after the other. Writing is
// synchronous: a sink that blocks (a terminal that was stopped) blocks who logs.
type Sink interface {
	slog.Handler
	// WriteErrors returns how many lines could not be written.
	WriteErrors() uint64
	// Close releases what the sink holds; later lines are write errors. A second Close
	// does nothing.
	Close() error
}

// A Reopener is a Sink that can start its output afresh after somebody (logrotate) has
// moved it away.
type Reopener interface {
	// Reopen opens the output anew. On an error the sink goes on with what it has.
	Reopen() error
}

// Settings is the configuration of one sink: a pointer to a struct in the form that
// package settings describes, and the way to open what it describes. A Settings that also
// has a method Validate() error is checked when the configuration is read.
type Settings interface {
	// Open opens the sink. ctx bounds the opening only.
	Open(ctx context.Context) (Sink, error)
}

// Kind is a sort of sink that a host can be configured with, Registry a set of them.
type (
	Kind     = registry.Kind[Settings]
	Registry = registry.Registry[Settings]
)

// NewRegistry returns a registry of the given kinds; it panics on two of one name.
func NewRegistry(kinds ...Kind) *Registry { return registry.New(kinds...) }

// New returns a logger that hands every line to all of the sinks whose level admits it,
// and the set of the sinks, whose Close closes them all. An error of one sink does not
// keep a line from the others. With no sink nothing is logged.
func New(sinks ...Sink) (*slog.Logger, *Sinks) {
	s := &Sinks{sinks: sinks}
	handlers := make([]slog.Handler, len(sinks))
	for i, sink := range sinks {
		handlers[i] = sink
	}
	return slog.New(fanout(handlers)), s
}

// Sinks is the set of sinks behind a logger. It is safe for concurrent use.
type Sinks struct{ sinks []Sink }

var _ io.Closer = (*Sinks)(nil)

// Close closes all sinks and returns what went wrong, joined.
func (s *Sinks) Close() error {
	var errs []error
	for _, sink := range s.sinks {
		errs = append(errs, sink.Close())
	}
	return errors.Join(errs...)
}

// Reopen reopens all sinks that can be and returns what went wrong, joined.
func (s *Sinks) Reopen() error {
	var errs []error
	for _, sink := range s.sinks {
		if r, ok := sink.(Reopener); ok {
			errs = append(errs, r.Reopen())
		}
	}
	return errors.Join(errs...)
}

// WriteErrors returns how many lines could not be written, over all sinks.
func (s *Sinks) WriteErrors() uint64 {
	var n uint64
	for _, sink := range s.sinks {
		n += sink.WriteErrors()
	}
	return n
}

// fanout hands records to several handlers.
type fanout []slog.Handler

// Enabled reports whether any handler wants the level.
func (f fanout) Enabled(ctx context.Context, level slog.Level) bool {
	for _, h := range f {
		if h.Enabled(ctx, level) {
			return true
		}
	}
	return false
}

// Handle hands the record to every handler that wants its level.
func (f fanout) Handle(ctx context.Context, r slog.Record) error {
	var errs []error
	for _, h := range f {
		if h.Enabled(ctx, r.Level) {
			errs = append(errs, h.Handle(ctx, r.Clone()))
		}
	}
	return errors.Join(errs...)
}

// WithAttrs returns the fan-out with the attributes added to every handler.
func (f fanout) WithAttrs(attrs []slog.Attr) slog.Handler {
	return f.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

// WithGroup returns the fan-out with the group opened in every handler.
func (f fanout) WithGroup(name string) slog.Handler {
	return f.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (f fanout) each(change func(slog.Handler) slog.Handler) fanout {
	changed := make(fanout, len(f))
	for i, h := range f {
		changed[i] = change(h)
	}
	return changed
}
