package sqs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// step is one settlement on its way.
type step struct {
	brokers.Settlement
	lease *lease
	err   error
}

// Settle implements brokers.Broker. Done is a deletion; Retry, Release and Bury send a copy
// and then delete. Should the deletion fail after the copy was sent, a second Settle only
// deletes.
func (b *Broker) Settle(ctx context.Context, ss []brokers.Settlement) (lost []task.ID, err error) {
	if err := b.usable(ctx); err != nil {
		return nil, b.fail(err)
	}
	for _, s := range ss {
		if s.Verdict < brokers.Done || s.Verdict > brokers.Bury {
			return nil, b.fail(fmt.Errorf("settle task %s: %d is not a verdict", s.ID, s.Verdict))
		}
	}
	steps, lost := b.claim(ss)
	b.sendCopies(ctx, steps)
	b.deleteSettled(ctx, steps)

	var errs []error
	buried := false
	b.mu.Lock()
	for _, s := range steps {
		switch {
		case s.err == nil:
			b.settled.add(s.lease.messageID)
			b.forget(s.lease)
		case errors.Is(s.err, errStays):
			b.forget(s.lease)
			s.err = nil
		case gone(s.err):
			lost = append(lost, s.ID)
			b.forget(s.lease)
			s.err = nil
		default:
			s.lease.settling = false
		}
		errs = append(errs, s.err)
		buried = buried || s.Verdict == brokers.Bury
	}
	b.mu.Unlock()
	if buried {
		b.deadChanged()
	}
	return lost, b.fail(summary(errs, "tasks were not settled"))
}

// claim finds the leases that settlements are about. Each can be claimed once.
func (b *Broker) claim(ss []brokers.Settlement) (steps []*step, lost []task.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range ss {
		l := b.find(s.ID, s.Token)
		if l == nil || l.settling {
			lost = append(lost, s.ID)
			continue
		}
		l.settling = true
		steps = append(steps, &step{Settlement: s, lease: l})
	}
	return steps, lost
}

// sendCopies sends the copies that the verdicts need, each to its queue.
func (b *Broker) sendCopies(ctx context.Context, steps []*step) {
	var again, buried parcel
	for _, s := range steps {
		if s.Verdict == brokers.Done || s.lease.copied {
			continue
		}
		to := &again
		if s.Verdict == brokers.Bury && b.dead != nil {
			to = &buried
		}
		out, err := b.successor(s)
		switch {
		case errors.Is(err, errNoRoom):
			b.withoutState(ctx, s, &buried)
		case err != nil:
			s.err = err
		default:
			to.steps, to.messages = append(to.steps, s), append(to.messages, out)
		}
	}
	b.post(ctx, b.main, again)
	b.post(ctx, b.dead, buried)
}

// parcel is what goes to one queue.
type parcel struct {
	steps    []*step
	messages []outgoing
}

// post sends a parcel.
func (b *Broker) post(ctx context.Context, q *queue, p parcel) {
	if len(p.steps) == 0 {
		return
	}
	for i, err := range q.send(ctx, p.messages) {
		s := p.steps[i]
		if s.err = err; err == nil {
			b.mu.Lock()
			s.lease.copied = true
			b.settled.add(s.lease.messageID) // should the deletion fail
			b.mu.Unlock()
		}
	}
}

// successor returns the copy that follows the message of a settlement.
func (b *Broker) successor(s *step) (outgoing, error) {
	m := b.snapshot(s.lease)
	now := time.Now().UTC()
	st := m.next()
	switch s.Verdict {
	case brokers.Retry:
		st.Attempts++
		st.History = brokers.AddEvent(st.History, brokers.Event{Time: now, Attempt: st.Attempts, What: "retry", Reason: s.Reason})
	case brokers.Release:
		if !s.At.IsZero() {
			st.Note = s.Reason
		}
	case brokers.Bury:
		st.Attempts++
		st.History = brokers.AddEvent(st.History, brokers.Event{Time: now, Attempt: st.Attempts, What: "bury", Reason: s.Reason})
		return b.letter(m, st, s.Reason, now)
	}
	return b.copyOf(m, st, s.At)
}

// snapshot returns the message of a lease as it is now: a second receive may change it.
func (b *Broker) snapshot(l *lease) *message {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := *l.message
	return &m
}

// withoutState settles a message that is so large that no state fits beside its body, which
// only a foreign producer can have sent. A letter goes without its state. A task that is
// to run again stays the message that it is and is hidden until then; SQS counts the
// receives that follow, which makes them lost leases, and so it cannot go on for ever.
func (b *Broker) withoutState(ctx context.Context, s *step, buried *parcel) {
	m := b.snapshot(s.lease)
	if s.Verdict == brokers.Bury && b.dead != nil {
		out := outgoing{body: m.body, size: len(m.body)}
		if b.traits().fifo {
			out.group, out.dedup = digest(string(m.task.ID)), digest(m.messageID)
		}
		buried.steps, buried.messages = append(buried.steps, s), append(buried.messages, out)
		return
	}
	until := maxHidden - time.Minute
	if s.Verdict != brokers.Bury {
		until = min(until, max(0, s.At.Sub(b.serverNow())))
	}
	s.err = b.main.hide(ctx, []string{m.handle}, []int32{seconds(until)})[0]
	if s.err == nil {
		s.err = errStays
	}
}

// errStays says that a message has been settled without being replaced: it must not be
// deleted.
var errStays = errors.New("stays")

// deleteSettled deletes the messages of the steps that have gone well so far.
func (b *Broker) deleteSettled(ctx context.Context, steps []*step) {
	var (
		doing   []*step
		handles []string
	)
	b.mu.Lock()
	for _, s := range steps {
		if s.err == nil {
			doing, handles = append(doing, s), append(handles, s.lease.handle)
		}
	}
	b.mu.Unlock()
	for i, err := range b.main.delete(ctx, handles) {
		doing[i].err = err
	}
}
