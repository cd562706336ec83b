package host

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

const (
	// firstOpen is how long a server may take to answer at the start of the host before
	// the host goes on without it.
	firstOpen = 10 * time.Second
	// A server that was down is tried again after a backoff between these.
	reopenFirst = 500 * time.Millisecond
	reopenMost  = 10 * time.Second
)

// late is something that is opened in the background until that succeeds once, and then
// used for good: a broker or store whose server was down when the host started.
type late[T any] struct {
	name   string
	opened chan struct{} // closed once inner is there
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	inner T
	err   error
}

func newLate[T any](name string, first error, logger *slog.Logger, open func(context.Context) (T, error)) *late[T] {
	ctx, cancel := context.WithCancel(context.Background())
	l := &late[T]{name: name, opened: make(chan struct{}), cancel: cancel, done: make(chan struct{}), err: first}
	go func() {
		defer close(l.done)
		for wait := reopenFirst; ; wait = min(reopenMost, 2*wait) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			inner, err := open(ctx)
			l.mu.Lock()
			l.err = err
			if err == nil {
				l.inner = inner
			}
			l.mu.Unlock()
			if err == nil {
				logger.Info("reached at last", "name", name)
				close(l.opened)
				return
			}
		}
	}()
	return l
}

// get returns what has been opened, or why nothing has.
func (l *late[T]) get() (T, error) {
	select {
	case <-l.opened:
		return l.inner, nil
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var none T
	return none, fmt.Errorf("not reached yet: %w", l.err)
}

// end gives up opening, and returns what has been opened by then.
func (l *late[T]) end() (T, bool) {
	l.cancel()
	<-l.done
	inner, err := l.get()
	return inner, err == nil
}

// lateBroker is a broker whose server was down when the host started.
type lateBroker struct{ *late[brokers.Broker] }

var (
	_ brokers.Broker  = lateBroker{}
	_ brokers.Waiter  = lateBroker{}
	_ brokers.Wrapper = lateBroker{}
)

// Unwrap returns the broker once it has been opened.
func (l lateBroker) Unwrap() brokers.Broker {
	b, err := l.get()
	if err != nil {
		return nil
	}
	return b
}

func (l lateBroker) Push(ctx context.Context, tasks []task.Task) error {
	b, err := l.get()
	if err != nil {
		return err
	}
	return b.Push(ctx, tasks)
}

func (l lateBroker) Lease(ctx context.Context, n int, ttl time.Duration) ([]brokers.Delivery, error) {
	b, err := l.get()
	if err != nil {
		return nil, err
	}
	return b.Lease(ctx, n, ttl)
}

func (l lateBroker) Extend(ctx context.Context, ttl time.Duration, ds []brokers.Delivery) ([]task.ID, error) {
	b, err := l.get()
	if err != nil {
		return nil, err
	}
	return b.Extend(ctx, ttl, ds)
}

func (l lateBroker) Settle(ctx context.Context, ss []brokers.Settlement) ([]task.ID, error) {
	b, err := l.get()
	if err != nil {
		return nil, err
	}
	return b.Settle(ctx, ss)
}

func (l lateBroker) Stats(ctx context.Context) (brokers.Stats, error) {
	b, err := l.get()
	if err != nil {
		return brokers.Stats{}, err
	}
	return b.Stats(ctx)
}

// Wait waits for the server to be reached, then as the broker does.
func (l lateBroker) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-l.opened:
	}
	if w, ok := brokers.Ability[brokers.Waiter](l.inner); ok {
		return w.Wait(ctx)
	}
	<-ctx.Done()
	return ctx.Err()
}

func (l lateBroker) Close() error {
	if b, ok := l.end(); ok {
		return b.Close()
	}
	return nil
}

// lateStore is a store whose server was down when the host started.
type lateStore struct{ *late[metastore.Store] }

var _ metastore.Store = lateStore{}

func (l lateStore) Put(ctx context.Context, records []task.Record) error {
	s, err := l.get()
	if err != nil {
		return err
	}
	return s.Put(ctx, records)
}

func (l lateStore) Get(ctx context.Context, ids []task.ID) ([]task.Record, error) {
	s, err := l.get()
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, ids)
}

func (l lateStore) Close() error {
	if s, ok := l.end(); ok {
		return s.Close()
	}
	return nil
}
