// Package registry holds sets of kinds by name: the kinds of brokers, of stores, of
// loggers. A registry is a value, filled explicitly by whoever assembles a program; there
// is no registration by import.
package registry

import (
	"fmt"
	"maps"
	"slices"
)

// Kind is one sort of back end whose settings are an S.
type Kind[S any] struct {
	// Name is what the configuration calls it: broker "sqlite" "…" {}.
	Name string
	// Doc is one sentence for the configuration reference.
	Doc string
	// New returns a pointer to a new settings struct (in the form that package settings
	// describes) that holds the kind's defaults.
	New func() S
	// Server says that it lives in a server, which may be down for a while.
	Server bool
}

// Registry is a set of kinds, by name. It is read-only once made, and so safe for
// concurrent use.
type Registry[S any] struct{ kinds map[string]Kind[S] }

// New returns a registry of the given kinds. It panics if two have one name, which is a
// mistake in the program.
func New[S any](kinds ...Kind[S]) *Registry[S] {
	r := &Registry[S]{kinds: map[string]Kind[S]{}}
	for _, k := range kinds {
		if _, dup := r.kinds[k.Name]; dup {
			panic(fmt.Sprintf("registry: kind %q registered twice", k.Name))
		}
		r.kinds[k.Name] = k
	}
	return r
}

// Kind returns the kind of that name.
func (r *Registry[S]) Kind(name string) (Kind[S], bool) { k, ok := r.kinds[name]; return k, ok }

// Names returns the names of all kinds, sorted.
func (r *Registry[S]) Names() []string { return slices.Sorted(maps.Keys(r.kinds)) }
