package sqs

import (
	"context"
	"time"
)

const (
	// hideMargin keeps clear of SQS's limit of maxHidden, which counts from the receive.
	hideMargin = time.Minute
	// lead is how long before the time at which SQS can delay a message by itself a hidden
	// one comes back.
	lead = time.Minute
	// maxInFlight is how many messages may be in flight for us to hide still more: SQS
	// hands out nothing at all when there are 120,000 (20,000 on older FIFO queues).
	maxInFlight = 60_000
	// traitsTime is how old what we know of the queue may be when we hide something.
	traitsTime = time.Minute
	// twinTime is how long another copy of a task that we hold waits.
	twinTime = time.Minute
	// forEver is a time that never comes, for dead letters that wait for a queue.
	forEver = 100 * 365 * 24 * time.Hour
)

// unleased returns the state of a copy of a message whose receives were no leases.
func (m *message) unleased() state {
	s := m.state
	if !m.early() && !m.state.Dead {
		// All receives but the last one were leases, and were lost.
		s = m.next()
		s.Sequence--
		s.Note, s.Again = m.state.Note, m.state.Again && m.receives == 1
	}
	return s
}

// park puts away messages that came before their time: SQS delays for 15 minutes at most.
//
// One that is due later than that is hidden again, for as long as SQS allows. That is
// cheap, a request or two for ten tasks in twelve hours, but there are cases in which it
// must be sent anew instead, with a delay: where SQS's redrive policy would take it for a
// message that fails again and again, where SQS would delete it as too old, and where too
// many messages are hidden already. One that is due sooner is sent anew with a delay to the
// second; this last copy is the one that gets leased.
func (b *Broker) park(ctx context.Context, ms []*message) {
	if len(ms) == 0 {
		return
	}
	t := b.freshTraits(ctx)
	var (
		hidden  []*message
		handles []string
		secs    []int32
		anew    []*message
	)
	for _, m := range ms {
		wait := m.due().Sub(b.serverNow())
		if d := b.hideTime(t, m, wait); d > 0 {
			hidden, handles, secs = append(hidden, m), append(handles, m.handle), append(secs, seconds(d))
		} else {
			anew = append(anew, m)
		}
	}
	for i, err := range b.main.hide(ctx, handles, secs) {
		if err != nil && ctx.Err() == nil {
			b.log.Warn("could not put away a task until it is due; it comes back soon", "broker", b.name, "task", hidden[i].task.ID, "error", err)
		}
	}
	b.replace(ctx, anew, func(m *message) (state, time.Time) { return m.unleased(), m.due() })
}

// hideTime returns for how long to hide a message that has to wait, 0 to send it anew.
func (b *Broker) hideTime(t traits, m *message, wait time.Duration) time.Duration {
	delay := b.maxDelay()
	if wait <= delay {
		return 0
	}
	d := min(wait, maxHidden-hideMargin)
	if delay > 0 {
		d = min(wait-delay+min(lead, delay/2), maxHidden-hideMargin)
	}
	switch {
	case t.maxReceive > 0 && m.receives >= t.maxReceive:
		return 0 // one receive more and the redrive policy takes it
	case t.inFlight > maxInFlight && delay > 0:
		return 0
	}
	if !m.sent.IsZero() {
		left := t.retention*3/4 - b.serverNow().Sub(m.sent)
		if d > left && left < maxDelay {
			return 0
		}
		d = min(d, left)
	}
	return max(d, time.Second)
}

// replace sends copies of messages, each with the state and the due time that f says, and
// deletes the messages then. What fails comes back by itself.
func (b *Broker) replace(ctx context.Context, ms []*message, f func(*message) (state, time.Time)) {
	if len(ms) == 0 {
		return
	}
	var (
		out  []outgoing
		of   []*message
		gone []*message
	)
	for _, m := range ms {
		s, due := f(m)
		o, err := b.copyOf(m, s, due)
		if err != nil {
			// No room for a state: it stays as it is, and comes back when it is visible.
			b.log.Warn("could not put a task back", "broker", b.name, "task", m.task.ID, "error", err)
			continue
		}
		out, of = append(out, o), append(of, m)
	}
	for i, err := range b.main.send(ctx, out) {
		if err == nil {
			gone = append(gone, of[i])
		} else if ctx.Err() == nil {
			b.log.Warn("could not put a task back; it comes back by itself", "broker", b.name, "task", of[i].task.ID, "error", err)
		}
	}
	b.drop(ctx, gone)
}

// drop deletes messages that are replaced or settled.
func (b *Broker) drop(ctx context.Context, ms []*message) {
	if len(ms) == 0 {
		return
	}
	handles := make([]string, len(ms))
	b.mu.Lock()
	for i, m := range ms {
		handles[i] = m.handle
		b.settled.add(m.messageID)
	}
	b.mu.Unlock()
	for i, err := range b.main.delete(ctx, handles) {
		if err != nil && ctx.Err() == nil {
			b.log.Warn("could not delete a message that is settled; it is deleted when it comes back", "broker", b.name, "task", ms[i].task.ID, "error", err)
		}
	}
}

// postpone puts away other copies of tasks that this broker holds, until the lease is over.
// None is deleted: which of them is the one to keep shows only in the end.
func (b *Broker) postpone(ctx context.Context, twins []*message) {
	until := b.serverNow().Add(twinTime)
	b.replace(ctx, twins, func(m *message) (state, time.Time) { return m.unleased(), until })
}

// freshTraits returns what the queue is like, asking SQS where that is not known well
// enough to hide messages.
func (b *Broker) freshTraits(ctx context.Context) traits {
	t := b.traits()
	if time.Since(t.asked) < traitsTime {
		return t
	}
	fresh, err := b.main.traits(ctx)
	if err != nil {
		if ctx.Err() == nil {
			b.log.Warn("could not ask for the queue's attributes", "broker", b.name, "error", err)
		}
		return t
	}
	b.known.Store(&fresh)
	return fresh
}
