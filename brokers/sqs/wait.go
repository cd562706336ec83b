package sqs

import (
	"context"
	"time"
)

const (
	// pollHide is how long a long poll hides what it receives, or for a lease if that is
	// shorter. Lease sets the time of the lease; should the poll's answer be lost on its way,
	// others wait no longer than this.
	pollHide = 10 * time.Second
	// holdTime is how long what a long poll has brought waits for a Lease, a quarter of what
	// it is hidden for at most. Then it goes back to the queue, where other hosts find it.
	holdTime = 2 * time.Second
	// pollMargin is how much sooner than a lease that is half over a long poll is to end.
	pollMargin = time.Second
)

// poll is a long poll. It goes on when those who wait for it have gone: cut short, it could
// take a message with it that everybody would have to wait for then.
type poll struct {
	most int           // messages
	wait time.Duration // how long SQS waits for one
	hide time.Duration // and how long it hides what it has found

	done chan struct{} // closed when SQS has answered
	got  bool          // it brought something to lease
	err  error
}

// newPoll returns the next long poll.
//
// A host that dies leaves its long poll behind: SQS goes on with it, and what it finds is
// hidden from everybody. So that it does not find the tasks that the dead host held, when
// their leases end, a poll that begins while there are leases is over before they can be:
// a host renews them before they are half over. Nothing is leased while a poll is under way,
// so that an idle host's may wait as long as it likes. b.mu is held.
func (b *Broker) newPoll() *poll {
	p := &poll{most: min(b.asked, batch), wait: b.waitTime, hide: pollHide, done: make(chan struct{})}
	if b.ttl > 0 {
		p.hide = min(p.hide, b.ttl)
	}
	if b.sweep(); len(b.held) > 0 || b.leasing > 0 {
		p.wait = min(p.wait, max(time.Second, (b.ttl/2-pollMargin).Truncate(time.Second)))
	}
	return p
}

// hold returns how long what the poll has brought waits for a Lease.
func (p *poll) hold() time.Duration { return min(holdTime, p.hide/4) }

// Wait implements brokers.Waiter by long polling: one request for each wait_time, shared by
// all who wait. What it brings is kept for the next Lease, and counts as ready.
func (b *Broker) Wait(ctx context.Context) error {
	for {
		if err := b.usable(ctx); err != nil {
			return b.fail(err)
		}
		if b.stillPaused(ctx) {
			b.rest(ctx, pauseRest)
			continue
		}
		p := b.currentPoll()
		if p == nil {
			return nil
		}
		select {
		case <-p.done:
			if p.err != nil {
				return b.fail(p.err)
			}
			if p.got {
				return nil
			}
		case <-ctx.Done():
			return b.fail(ctx.Err())
		case <-b.open.Done():
			return b.fail(b.open.Err())
		}
	}
}

// currentPoll returns the long poll under way, a new one if there is none, and nil where
// something waits to be leased.
func (b *Broker) currentPoll() *poll {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.buffer) > 0 {
		return nil
	}
	if b.poll == nil && b.open.Err() == nil {
		p := b.newPoll()
		b.poll = p
		b.work.Go(func() { b.longPoll(p) })
	}
	if b.poll == nil { // closed in between: the caller finds out
		p := &poll{done: make(chan struct{})}
		close(p.done)
		return p
	}
	return b.poll
}

// longPoll asks SQS for messages once and keeps them for a while.
func (b *Broker) longPoll(p *poll) {
	began := time.Now()
	in, err := b.main.receive(b.open, p.most, seconds(p.hide), p.wait)
	arrived := time.Now()
	var ms []*message
	for _, m := range in {
		ms = append(ms, b.read(m, began, seconds(p.hide)))
	}
	ms = b.admit(b.life, ms)
	for _, m := range ms {
		// SQS has hidden it since some time after began; prolong finds out whether it
		// still does.
		m.until = arrived.Add(p.hide - p.hold())
	}
	b.mu.Lock()
	b.poll = nil
	b.buffer = append(b.buffer, ms...)
	b.complete = len(in) < p.most
	p.got, p.err = len(ms) > 0, err
	b.mu.Unlock()
	close(p.done)
	if len(ms) == 0 {
		return
	}
	hold := time.NewTimer(p.hold())
	defer hold.Stop()
	select {
	case <-hold.C:
	case <-b.open.Done():
		return // Close gives back what is in the buffer
	}
	b.giveBack(b.life, b.takeBack(ms))
}

// takeBuffered takes at most n messages out of the buffer; enough says that it is no use to
// ask the queue for more now: a long poll has just found that there are no more, or one
// that would find them is under way. It notes how many the host asks for, and for how long,
// and that it is leasing; leased ends that.
func (b *Broker) takeBuffered(n int, ttl time.Duration) (ms []*message, enough bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked, b.ttl = n, ttl
	b.leasing++
	n = min(n, len(b.buffer))
	ms, b.buffer = b.buffer[:n:n], b.buffer[n:]
	return ms, b.poll != nil || n > 0 && b.complete && len(b.buffer) == 0
}

func (b *Broker) leased() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leasing--
}

// takeBack takes those of ms that are still there out of the buffer.
func (b *Broker) takeBack(ms []*message) (left []*message) {
	of := map[*message]bool{}
	for _, m := range ms {
		of[m] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var others []*message
	for _, m := range b.buffer {
		if of[m] {
			left = append(left, m)
		} else {
			others = append(others, m)
		}
	}
	b.buffer = others
	return left
}

// prolong turns what a long poll has brought into what can be leased: it hides it for the
// time of the lease from now. It returns those that SQS still had for us.
func (b *Broker) prolong(ctx context.Context, ms []*message, hide int32) (good []*message) {
	began := time.Now()
	var handles []string
	var secs []int32
	for _, m := range ms {
		if began.Before(m.until) {
			good, handles, secs = append(good, m), append(handles, m.handle), append(secs, hide)
		}
	}
	kept := good[:0]
	for i, err := range b.main.hide(ctx, handles, secs) {
		if err != nil {
			b.log.Debug("a message that a long poll has brought is gone", "broker", b.name, "task", good[i].task.ID, "error", err)
			continue
		}
		good[i].until = began.Add(time.Duration(hide) * time.Second)
		kept = append(kept, good[i])
	}
	return kept
}

// giveBack returns messages that were received for nothing. They are sent anew: made
// visible again, they would count as lost leases at their next receive.
func (b *Broker) giveBack(ctx context.Context, ms []*message) {
	b.replace(ctx, ms, func(m *message) (state, time.Time) { return m.unleased(), time.Time{} })
}
