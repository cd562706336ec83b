package memory

import (
	"container/heap"
	"time"
)

// pile is a set of entries from which the one with the earliest time comes first; between
// equal times the order of arrival decides.
type pile struct {
	key   func(*entry) time.Time
	items []*entry
}

func (p *pile) put(e *entry) {
	e.in = p
	heap.Push((*byTime)(p), e)
}

func (p *pile) remove(e *entry) {
	heap.Remove((*byTime)(p), e.index)
	e.in = nil
}

// first returns the entry with the earliest time, nil if there is none.
func (p *pile) first() *entry {
	if len(p.items) == 0 {
		return nil
	}
	return p.items[0]
}

func (p *pile) less(a, b *entry) bool {
	if c := p.key(a).Compare(p.key(b)); c != 0 {
		return c < 0
	}
	return a.order < b.order
}

// byTime is a pile as container/heap wants it.
type byTime pile

func (h *byTime) Len() int           { return len(h.items) }
func (h *byTime) Less(i, j int) bool { return (*pile)(h).less(h.items[i], h.items[j]) }
func (h *byTime) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].index, h.items[j].index = i, j
}

func (h *byTime) Push(x any) {
	e := x.(*entry)
	e.index = len(h.items)
	h.items = append(h.items, e)
}

func (h *byTime) Pop() any {
	n := len(h.items) - 1
	e := h.items[n]
	h.items[n] = nil
	h.items = h.items[:n]
	return e
}
