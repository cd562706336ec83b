package sqs

import (
	"context"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/backplane/leptir/brokers"
)

const (
	// deadCountTime is how long the number of dead letters is remembered: asking costs a
	// request.
	deadCountTime = 10 * time.Second
	// idleCountTime is how long the numbers of the main queue are remembered while a long
	// poll is under way: it is there because no task is ready, and ends when one is.
	idleCountTime = 10 * time.Second
)

// count is what SQS says of a queue.
type count struct {
	visible, delayed, inFlight int64
	at                         time.Time // when it was asked, by our clock
}

// Stats implements brokers.Broker. The numbers are SQS's approximations. A task that was
// received before it was due, and is hidden until then, counts as leased: SQS does not
// tell one from the other. Nor does it tell which ones are parked.
func (b *Broker) Stats(ctx context.Context) (brokers.Stats, error) {
	if err := b.usable(ctx); err != nil {
		return brokers.Stats{}, b.fail(err)
	}
	b.mu.Lock()
	main, polling := b.last, b.poll != nil
	b.mu.Unlock()
	if polling && time.Since(main.at) < idleCountTime {
		main.visible = 0
	} else {
		var err error
		if main, err = b.main.count(ctx); err != nil {
			return brokers.Stats{}, b.fail(err)
		}
	}
	dead, err := b.countDead(ctx)
	if err != nil {
		return brokers.Stats{}, b.fail(err)
	}
	paused := b.stillPaused(ctx)
	if main.visible > 0 { // else a pause that is not known of yet makes no difference
		paused = !b.pausedSince(ctx).IsZero()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = main
	buffered := int64(len(b.buffer)) // SQS counts them as in flight, but nobody has leased them yet
	return brokers.Stats{
		Ready: main.visible + buffered, Scheduled: main.delayed, Leased: max(0, main.inFlight-buffered), Dead: dead,
		Paused: paused,
	}, nil
}

// count asks how many messages there are.
func (q *queue) count(ctx context.Context) (count, error) {
	const (
		visible  = types.QueueAttributeNameApproximateNumberOfMessages
		delayed  = types.QueueAttributeNameApproximateNumberOfMessagesDelayed
		inFlight = types.QueueAttributeNameApproximateNumberOfMessagesNotVisible
	)
	began := time.Now()
	attributes, err := q.attributes(ctx, visible, delayed, inFlight)
	if err != nil {
		return count{}, err
	}
	number := func(name types.QueueAttributeName) int64 {
		n, _ := strconv.ParseInt(attributes[string(name)], 10, 64)
		return max(0, n)
	}
	return count{number(visible), number(delayed), number(inFlight), began}, nil
}

// countDead returns the number of dead letters, a few seconds old at most.
func (b *Broker) countDead(ctx context.Context) (int64, error) {
	if b.dead == nil {
		return 0, nil
	}
	b.mu.Lock()
	c := b.lastDead
	b.mu.Unlock()
	if time.Since(c.at) >= deadCountTime {
		var err error
		if c, err = b.dead.count(ctx); err != nil {
			return 0, err
		}
		b.mu.Lock()
		b.lastDead = c
		b.mu.Unlock()
	}
	return c.visible + c.delayed + c.inFlight, nil
}

// deadChanged makes the next Stats count the dead letters anew.
func (b *Broker) deadChanged() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastDead = count{}
}
