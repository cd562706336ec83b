// Package memory is the reference store of task records: a map in the memory of one
// process. Tests and programs that need no durability use it; its records are gone with
// the process, so a host cannot be configured with it.
package memory

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

// Place is what several Stores share: the records. It lives as long as the program, and
// grows with every task.
type Place struct {
	mu      sync.RWMutex
	records map[task.ID]entry
}

// entry is a record as it is written, so that nobody shares memory with it.
type entry struct {
	delivery int
	json     []byte
}

// NewPlace returns an empty place for records.
func NewPlace() *Place { return &Place{records: map[task.ID]entry{}} }

// Open returns a store on the place. Every call is like another host on one server.
func (p *Place) Open() *Store { return &Store{p: p, closed: make(chan struct{})} }

// Store is one handle on a Place. It implements metastore.Store and is safe for concurrent
// use.
type Store struct {
	p      *Place
	once   sync.Once
	closed chan struct{}
}

var _ metastore.Store = (*Store)(nil)

// New returns a store on a place of its own.
func New() *Store { return NewPlace().Open() }

// Close ends the use of this handle; the records stay in the place.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// usable returns the error with which a method must return at once, if any.
func (s *Store) usable(ctx context.Context) error {
	select {
	case <-s.closed:
		return fmt.Errorf("memory: %w", metastore.ErrClosed)
	default:
		return ctx.Err()
	}
}

// Put implements metastore.Store.
func (s *Store) Put(ctx context.Context, records []task.Record) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	entries := make([]entry, len(records))
	for i, r := range records {
		b, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("memory: put the record of task %s: %w", r.ID, err)
		}
		entries[i] = entry{r.Run.Delivery, b}
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	for i, r := range records {
		if old, ok := s.p.records[r.ID]; !ok || old.delivery <= entries[i].delivery {
			s.p.records[r.ID] = entries[i]
		}
	}
	return nil
}

// Get implements metastore.Store.
func (s *Store) Get(ctx context.Context, ids []task.ID) ([]task.Record, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	found := map[task.ID][]byte{}
	s.p.mu.RLock()
	for _, id := range ids {
		if e, ok := s.p.records[id]; ok {
			found[id] = e.json
		}
	}
	s.p.mu.RUnlock()
	out := make([]task.Record, 0, len(found))
	for id, b := range found {
		var r task.Record
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("memory: get the record of task %s: %w", id, err)
		}
		out = append(out, r)
	}
	return out, nil
}
