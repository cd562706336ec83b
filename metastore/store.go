// Package metastore owns the contract of a store of task records ("meta storage" in the
// original) and the registry of its kinds: each kind lives in a folder of its own below
// this one and passes the suite of metastore/metastoretest. It knows nothing of brokers,
// plugins or processes.
package metastore

import (
	"context"
	"errors"
	"log/slog"

	"github.com/backplane/leptir/internal/registry"
	"github.com/backplane/leptir/task"
)

// ErrClosed is returned by every method of a Store after its Close.
var ErrClosed = errors.New("meta storage is closed")

// A Store keeps one record for each task.
//
// Methods are safe for concurrent use, and for use by several processes on the same
// store. They honour ctx, and every one has a time limit of its own where ctx has none.
type Store interface {
	// Put writes records, in one round trip where the store can; they are as durable on
	// return as the store makes anything. A record replaces the one with its id, unless
	// that one's Run.Delivery is higher: then the new one comes from a host that lost
	// its lease, and is dropped without an error. On an error any part of the records
	// may have been written; putting them again is harmless.
	Put(ctx context.Context, records []task.Record) error

	// Get returns the records of the given ids, in any order; ids without a record are
	// left out.
	Get(ctx context.Context, ids []task.ID) ([]task.Record, error)

	// Close releases what the store holds. A second Close does nothing.
	Close() error
}

// Settings is the configuration of one store: a pointer to a struct in the form that
// package settings describes, and the way to open what it describes. A Settings that also
// has a method Validate() error is checked when the configuration is read.
type Settings interface {
	// Open connects to the store. ctx bounds the opening only.
	Open(ctx context.Context, env Env) (Store, error)
}

// Env is what an opened store gets from its surroundings.
type Env struct {
	// Name is the store's name in the configuration; errors carry it.
	Name string
	// Logger gets what the store has to say by itself. Never nil.
	Logger *slog.Logger
}

// Kind is a sort of store that a host can be configured with, Registry a set of them.
type (
	Kind     = registry.Kind[Settings]
	Registry = registry.Registry[Settings]
)

// NewRegistry returns a registry of the given kinds; it panics on two of one name.
func NewRegistry(kinds ...Kind) *Registry { return registry.New(kinds...) }
