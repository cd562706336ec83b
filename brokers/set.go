package brokers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/backplane/leptir/task"
)

const (
	// pushTasks is the most tasks in one call of a broker.
	pushTasks = 1000
	// pushBytes is the most parameters in one call of a broker, in bytes, as far as a
	// single task does not exceed it.
	pushBytes = 16 << 20
)

// Named is an opened broker and what a configuration says about it.
type Named struct {
	// Name and Kind are for people; Name is unique in a Set.
	Name, Kind string
	// Priority is the broker's priority number; a lower one is more urgent.
	Priority int
	Broker   Broker
}

// Source is a broker that is not open yet.
type Source struct {
	Name, Kind string
	Priority   int
	Settings   Settings
}

// Set is several brokers side by side, as a producer sees them: a task's priority chooses
// the one it is pushed to. It is safe for concurrent use.
type Set struct {
	members    []Named
	priorities []int
}

// NewSet makes a set of opened brokers, which are the set's from then on: its Close closes
// them. It refuses an empty set, a member without a broker or a name, and two of one name.
func NewSet(members ...Named) (*Set, error) {
	if len(members) == 0 {
		return nil, errors.New("a set of brokers needs at least one")
	}
	s := &Set{members: slices.Clone(members)}
	names := map[string]bool{}
	for _, m := range members {
		switch {
		case m.Name == "":
			return nil, errors.New("a broker of the set has no name")
		case m.Broker == nil:
			return nil, fmt.Errorf("broker %q: it is not open", m.Name)
		case names[m.Name]:
			return nil, fmt.Errorf("broker %q: there are two of this name", m.Name)
		}
		names[m.Name] = true
		s.priorities = append(s.priorities, m.Priority)
	}
	return s, nil
}

// Open opens brokers and makes a set of them. All get env, each with its own name in it; a
// nil Logger discards what they have to say by themselves. If one cannot be opened, the
// others are closed again. ctx bounds the opening only.
func Open(ctx context.Context, env Env, sources ...Source) (*Set, error) {
	if env.Logger == nil {
		env.Logger = slog.New(slog.DiscardHandler)
	}
	members := make([]Named, 0, len(sources))
	fail := func(err error) (*Set, error) {
		return nil, errors.Join(err, (&Set{members: members}).Close())
	}
	for _, source := range sources {
		if source.Settings == nil {
			return fail(fmt.Errorf("broker %q: it has no settings", source.Name))
		}
		env.Name = source.Name
		b, err := source.Settings.Open(ctx, env)
		if err != nil {
			return fail(named(source.Name, err))
		}
		members = append(members, Named{source.Name, source.Kind, source.Priority, b})
	}
	s, err := NewSet(members...)
	if err != nil {
		return fail(err)
	}
	return s, nil
}

// Members returns the brokers in the order in which they were given.
func (s *Set) Members() []Named { return slices.Clone(s.members) }

// For returns the broker that tasks of the given priority are pushed to; see ForPush.
func (s *Set) For(priority int) Named { return s.members[ForPush(s.priorities, priority)] }

// PushTask pushes one task and returns its id. The arguments say what the task's own
// fields say otherwise: at is the time before which it does not run (zero: at once),
// priority chooses the broker (a lower number is more urgent, 0 the usual), limit is the
// most time it may run (0: the host's default, task.NoTimeLimit: none). An id and the time
// of the push are filled in where the task has none. The task is durable on return.
func (s *Set) PushTask(ctx context.Context, t task.Task, at time.Time, priority int, limit time.Duration) (task.ID, error) {
	t.At, t.Priority, t.TimeLimit = at, priority, limit
	ids, err := s.Push(ctx, []task.Task{t})
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// Push pushes tasks, each to the broker of its priority, many in one call of a broker. It
// returns the ids of those that are durably queued, in the order of tasks: all of them
// unless there is an error.
//
// An id and the time of the push are filled in where a task has none, in tasks itself, so
// that after an error the same slice can be pushed again: what was queued already is not
// queued twice. Nothing is pushed if any task is invalid or an id stands there twice.
func (s *Set) Push(ctx context.Context, tasks []task.Task) ([]task.ID, error) {
	if err := prepare(tasks, time.Now().UTC()); err != nil {
		return nil, err
	}
	var (
		errs   []error
		queued = make([]bool, len(tasks))
		groups = make([][]int, len(s.members)) // indexes into tasks
	)
	for i := range tasks {
		m := ForPush(s.priorities, tasks[i].Priority)
		groups[m] = append(groups[m], i)
	}
	for m, group := range groups {
		// A broker that fails is left; the others still get their tasks.
		if err := pushGroup(ctx, s.members[m], tasks, group, queued); err != nil {
			errs = append(errs, err)
		}
	}
	ids := make([]task.ID, 0, len(tasks))
	for i := range tasks {
		if queued[i] {
			ids = append(ids, tasks[i].ID)
		}
	}
	return ids, errors.Join(errs...)
}

// prepare fills in what a producer may leave out, and checks the tasks.
func prepare(tasks []task.Task, now time.Time) error {
	ids := make(map[task.ID]bool, len(tasks))
	for i := range tasks {
		t := &tasks[i]
		if t.ID == "" {
			t.ID = task.NewID()
		}
		if t.PushedAt.IsZero() {
			t.PushedAt = now
		}
		if err := t.Validate(); err != nil {
			return fmt.Errorf("push: %w", err)
		}
		if ids[t.ID] {
			return fmt.Errorf("push: two of the tasks have the id %s", t.ID)
		}
		ids[t.ID] = true
	}
	return nil
}

// pushGroup pushes the tasks with the given indexes to one broker, and marks those that
// are queued.
func pushGroup(ctx context.Context, to Named, tasks []task.Task, group []int, queued []bool) error {
	chunk := make([]task.Task, 0, min(len(group), pushTasks))
	for len(group) > 0 {
		chunk = chunk[:0]
		bytes := 0
		for _, i := range group[:min(len(group), pushTasks)] {
			bytes += len(tasks[i].Params)
			if len(chunk) > 0 && bytes > pushBytes {
				break
			}
			chunk = append(chunk, tasks[i])
		}
		if err := to.Broker.Push(ctx, chunk); err != nil {
			return named(to.Name, err)
		}
		for _, i := range group[:len(chunk)] {
			queued[i] = true
		}
		group = group[len(chunk):]
	}
	return nil
}

// Close closes all brokers and returns what went wrong, joined.
func (s *Set) Close() error {
	var errs []error
	for _, m := range s.members {
		if err := m.Broker.Close(); err != nil {
			errs = append(errs, named(m.Name, err))
		}
	}
	return errors.Join(errs...)
}

// named makes an error name the broker, unless it does so already.
func named(name string, err error) error {
	prefix := fmt.Sprintf("broker %q: ", name)
	if strings.HasPrefix(err.Error(), prefix) {
		return err
	}
	return fmt.Errorf("%s%w", prefix, err)
}
