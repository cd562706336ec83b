package dispatch

import "sync"

// mailbox is a queue between goroutines. put never blocks: what may be in it is bounded by
// the leases that a host holds.
type mailbox[T any] struct {
	mu     sync.Mutex
	more   sync.Cond
	items  []T
	closed bool
}

func newMailbox[T any]() *mailbox[T] {
	m := &mailbox[T]{}
	m.more.L = &m.mu
	return m
}

// put adds items; after close they are dropped.
func (m *mailbox[T]) put(items ...T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.items = append(m.items, items...)
		m.more.Signal()
	}
}

// take waits for items and returns at most n of them, all that have gathered; false once
// the mailbox is closed and empty.
func (m *mailbox[T]) take(n int) ([]T, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.items) == 0 {
		if m.closed {
			return nil, false
		}
		m.more.Wait()
	}
	n = min(n, len(m.items))
	got := m.items[:n:n]
	m.items = m.items[n:]
	if len(m.items) == 0 {
		m.items = nil
	}
	return got, true
}

// close ends the mailbox; what is in it can still be taken.
func (m *mailbox[T]) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.more.Broadcast()
}
