package brokers

import (
	"context"
	"log/slog"
	"time"

	"github.com/backplane/leptir/internal/registry"
)

// Settings is the configuration of one broker: a pointer to a struct in the form that
// package settings describes, and the way to open what it describes. A Settings that also
// has a method Validate() error is checked when the configuration is read.
type Settings interface {
	// Open connects to the queue. ctx bounds the opening only.
	Open(ctx context.Context, env Env) (Broker, error)
}

// Placer is a Settings that can tell whether it is the same queue as another of its kind.
type Placer interface {
	// Place names the queue; two settings of one kind with one place are one queue.
	Place() string
}

// Env is what an opened broker gets from its surroundings.
type Env struct {
	// Name is the broker's name in the configuration; errors carry it.
	Name string
	// Logger gets what the broker has to say by itself. Never nil.
	Logger *slog.Logger
	// Aliases are the task types of class names that producers of the original leptir
	// write; brokers that such producers can reach decode with task.DecodeAny.
	Aliases map[string]string
	// Now is this machine's clock; nil is time.Now. Tests set it wrong, to see that a host
	// with a wrong clock does no harm.
	Now func() time.Time
}

// Clock returns Now, or time.Now where it is nil.
func (e Env) Clock() func() time.Time {
	if e.Now == nil {
		return time.Now
	}
	return e.Now
}

// Kind is a sort of broker that a host can be configured with, Registry a set of them.
type (
	Kind     = registry.Kind[Settings]
	Registry = registry.Registry[Settings]
)

// NewRegistry returns a registry of the given kinds; it panics on two of one name.
func NewRegistry(kinds ...Kind) *Registry { return registry.New(kinds...) }
