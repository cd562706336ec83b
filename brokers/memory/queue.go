package memory

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// Options are the settings of a Queue. The zero value is fine.
type Options struct {
	// Now is the queue's clock; nil is time.Now. Tests bring their own to let leases end
	// without waiting.
	Now func() time.Time
}

// Queue is what several Brokers share: the tasks. It lives as long as the program.
type Queue struct {
	now func() time.Time

	mu        sync.Mutex
	entries   map[task.ID]*entry
	scheduled pile // by due time: not due when last looked at
	ready     pile // by due time: due
	leased    pile // by the end of the lease
	dead      pile // by the time of burial
	parked    int  // scheduled ones that have a note
	order     uint64
	token     uint64
	paused    time.Time     // since when; zero if it is not
	changed   chan struct{} // closed, and replaced, when a task may have become due
}

// entry is one task in a queue. It is in exactly one pile.
type entry struct {
	task       task.Task
	raw        []byte // only of an unreadable one
	unreadable error
	due        time.Time
	until      time.Time // end of the lease, of a leased one
	buried     time.Time // of a dead one
	order      uint64    // order of arrival, which decides between equal times
	// token names the lease. It stays when a lease ends by itself, so that a late host can
	// still settle as long as nobody else has the task; at the next lease it tells that
	// the one before was lost.
	token    string
	attempts int // counted ones
	sequence int
	lost     int
	note     string
	history  []brokers.Event
	cancel   *brokers.Cancellation // wished for while it was leased

	in    *pile
	index int // in its pile
}

// NewQueue returns an empty queue.
func NewQueue(o Options) *Queue {
	q := &Queue{now: o.Now, entries: map[task.ID]*entry{}, changed: make(chan struct{})}
	if q.now == nil {
		q.now = time.Now
	}
	byDue := func(e *entry) time.Time { return e.due }
	q.scheduled.key, q.ready.key = byDue, byDue
	q.leased.key = func(e *entry) time.Time { return e.until }
	q.dead.key = func(e *entry) time.Time { return e.buried }
	return q
}

// Open returns a broker on the queue. Every call is like another host on one server.
func (q *Queue) Open() *Broker { return &Broker{q: q, closed: make(chan struct{})} }

// PushRaw queues a message as it would lie in a queue on a server: what task.Decode cannot
// read is delivered as unreadable, under a new id, which is returned.
func (q *Queue) PushRaw(raw []byte) task.ID {
	t, err := task.Decode(raw)
	e := &entry{task: t}
	if err != nil {
		e.task = task.Task{ID: task.NewID()}
		e.raw, e.unreadable = slices.Clone(raw), err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(e)
	return e.task.ID
}

// add queues a new entry unless its id is there already. The caller holds mu, as for all
// methods below.
func (q *Queue) add(e *entry) {
	if _, there := q.entries[e.task.ID]; there {
		return
	}
	e.due = e.task.At
	if now := q.now(); e.due.IsZero() {
		// A producer whose clock is fast does not delay what is to run at once.
		if e.due = e.task.PushedAt; e.due.IsZero() || e.due.After(now) {
			e.due = now
		}
	}
	q.order++
	e.order = q.order
	q.entries[e.task.ID] = e
	q.wait(e)
}

// wait puts an entry that is in no pile among the scheduled or ready ones, by its due time.
func (q *Queue) wait(e *entry) {
	if e.due.After(q.now()) {
		q.put(&q.scheduled, e)
	} else {
		q.put(&q.ready, e)
	}
	q.touch()
}

// touch wakes those who wait: what is due next may have changed.
func (q *Queue) touch() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *Queue) put(p *pile, e *entry) {
	if p == &q.scheduled && e.note != "" {
		q.parked++
	}
	p.put(e)
}

// take removes the entry from its pile.
func (q *Queue) take(e *entry) {
	if e.in == &q.scheduled && e.note != "" {
		q.parked--
	}
	e.in.remove(e)
}

// tick brings the piles up to date: scheduled tasks that have come due and tasks whose
// lease has ended become ready.
func (q *Queue) tick(now time.Time) {
	for e := q.scheduled.first(); e != nil && !e.due.After(now); e = q.scheduled.first() {
		q.take(e)
		q.put(&q.ready, e)
	}
	for e := q.leased.first(); e != nil && !e.until.After(now); e = q.leased.first() {
		q.take(e)
		q.put(&q.ready, e) // it was due when it was leased
	}
}

// lease takes the ready entry that is first in line, which the caller knows to be there.
func (q *Queue) lease(now time.Time, ttl time.Duration, token string) brokers.Delivery {
	e := q.ready.first()
	q.take(e)
	if e.token != "" {
		e.lost++
		e.remember(now, e.attempts+1, "lost", "the lease ended by itself")
	}
	e.token, e.note = token, ""
	e.sequence++
	e.until = now.Add(ttl)
	q.put(&q.leased, e)
	d := brokers.Delivery{
		Task: e.task, Token: token, Attempt: e.attempts + 1, Sequence: e.sequence,
		Lost: e.lost, Repeated: e.lost > 0, Until: e.until,
	}
	d.Task.Params = slices.Clone(e.task.Params)
	if e.cancel != nil {
		c := *e.cancel
		d.Cancel = &c
	}
	if e.unreadable != nil {
		d.Raw, d.Unreadable = slices.Clone(e.raw), e.unreadable
	}
	return d
}

// held returns the entry if the lease named by token is still its latest one and nobody
// has settled it.
func (q *Queue) held(id task.ID, token string) (*entry, bool) {
	e, ok := q.entries[id]
	return e, ok && token != "" && e.token == token
}

// settle ends the lease of e.
func (q *Queue) settle(e *entry, s brokers.Settlement, now time.Time) {
	q.take(e)
	e.token, e.note = "", ""
	switch s.Verdict {
	case brokers.Done:
		delete(q.entries, e.task.ID)
		return
	case brokers.Bury:
		e.attempts++
		e.cancel = nil
		e.remember(now, e.attempts, "bury", s.Reason)
		e.buried = now
		q.put(&q.dead, e)
		return
	case brokers.Retry:
		e.attempts++
		e.remember(now, e.attempts, "retry", s.Reason)
		e.due = s.At
		if s.At.IsZero() {
			e.due = now
		}
	case brokers.Release:
		if !s.At.IsZero() {
			e.due, e.note = s.At, s.Reason
		}
	}
	q.wait(e)
}

// remember adds an event of the given attempt to the history.
func (e *entry) remember(now time.Time, attempt int, what, reason string) {
	e.history = brokers.AddEvent(e.history, brokers.Event{Time: now.UTC(), Attempt: attempt, What: what, Reason: reason})
}

// item shows the entry to an operator.
func (q *Queue) item(e *entry) (brokers.Item, error) {
	it := brokers.Item{
		ID: e.task.ID, Task: e.task, Raw: slices.Clone(e.raw), Due: e.due.UTC(),
		Attempt: e.attempts, Sequence: e.sequence, Lost: e.lost, Note: e.note, History: slices.Clone(e.history),
	}
	it.Task.Params = slices.Clone(e.task.Params)
	if e.unreadable == nil {
		raw, err := task.Encode(&e.task)
		if err != nil {
			return brokers.Item{}, err
		}
		it.Raw = raw
	}
	switch e.in {
	case &q.scheduled:
		it.State = brokers.StateScheduled
	case &q.ready:
		it.State = brokers.StateReady
	case &q.leased:
		it.State, it.Until = brokers.StateLeased, e.until.UTC()
	case &q.dead:
		it.State = brokers.StateDead
	}
	if e.in != &q.leased && e.token != "" {
		it.Lost++ // ended, though nobody has leased it since
	}
	return it, nil
}

// pile returns the pile of the tasks in the given state.
func (q *Queue) pile(s brokers.State) (*pile, error) {
	switch s {
	case brokers.StateScheduled:
		return &q.scheduled, nil
	case brokers.StateReady:
		return &q.ready, nil
	case brokers.StateLeased:
		return &q.leased, nil
	case brokers.StateDead:
		return &q.dead, nil
	}
	return nil, fmt.Errorf("unknown state %q; the states are ready, scheduled, leased and dead", string(s))
}
