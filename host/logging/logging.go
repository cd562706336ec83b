// Package logging owns where leptir's log lines go and what they look like: sinks, their
// kinds (stdout, stderr, file, syslog, journal), the logger that hands every line to all of
// them, and the adapter for libraries that want an hclog.Logger. It knows nothing of the configuration
// language, of tasks or of processes: the lines of a task carry its id and type as plain
// attributes.
package logging

import (
	"context"
	"log/slog"

	"github.com/backplane/leptir/internal/registry"
)

// A Sink is one place that log lines are written to, with a level of its own.
//
// It is safe for concurrent use; lines are written whole, one after the other. A file has a
// line before the logging call returns. All other outputs may stand still and are written
// to from a queue: who logs does not wait, and lines that find no room are dropped, counted
// and told of by a line of their own once the output takes lines again.
type Sink interface {
	slog.Handler
	// WriteErrors returns how many lines could not be written, or were dropped.
	WriteErrors() uint64
	// Close writes what waits, for a few seconds at the most, and releases what the sink
	// holds; later lines are write errors. A second Close does nothing.
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

// A Foreground is a Settings whose output belongs to the terminal, or whoever else, that
// has started the program: a program in the background has none, and does not open it.
type Foreground interface{ Foreground() }

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
	s := &Sinks{}
	s.set.Store(&sinkSet{sinks: sinks})
	return slog.New(&fanout{sinks: s}), s
}
