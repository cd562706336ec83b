package sqs

import (
	"context"
	"errors"
	"slices"
	"time"

	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
)

// A pause is a tag of the queue: what else SQS keeps with a queue either changes what SQS
// does or is gone with a message. Tags cost a request each time they are looked at, and AWS
// allows an account only some thirty such a second.
const (
	pauseTag = "leptir:paused" // its value says since when
	// pauseAge is how old what a handle knows of a pause may be when it hands out a task.
	pauseAge = 5 * time.Second
	// pauseRest is how long Wait rests while the queue is paused.
	pauseRest = time.Second
	// tagsRest is how long tags are left alone where nobody may look at them.
	tagsRest = 5 * time.Minute
)

// pause is what a handle knows of a pause.
type pause struct {
	since  time.Time // zero: there is none
	next   time.Time // when to look again
	warned bool
}

// handsOut reports whether a Lease may hand something out now: not while a long poll is
// under way that has brought nothing yet, which makes an idle host's Lease free of cost.
func (b *Broker) handsOut() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.poll == nil || len(b.buffer) > 0
}

// stillPaused reports whether a pause that this handle knows of goes on. One that it does
// not know of need not be looked for while nothing is handed out.
func (b *Broker) stillPaused(ctx context.Context) bool {
	b.mu.Lock()
	known := !b.pause.since.IsZero()
	b.mu.Unlock()
	return known && !b.pausedSince(ctx).IsZero()
}

// rest waits for a while, or until the broker is closed.
func (b *Broker) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-b.open.Done():
	}
}

// pausedSince returns since when the queue is paused, as of some seconds ago. Where SQS does
// not tell, what was known last holds on: work does not stop for want of an answer.
func (b *Broker) pausedSince(ctx context.Context) time.Time {
	b.mu.Lock()
	p := b.pause
	if time.Now().Before(p.next) {
		b.mu.Unlock()
		return p.since
	}
	b.pause.next = time.Now().Add(pauseAge) // others need not ask at the same time
	b.mu.Unlock()
	since, err := b.lookForPause(ctx)
	switch {
	case err == nil:
		return since
	case ctx.Err() != nil || b.open.Err() != nil:
		b.mu.Lock()
		b.pause.next = p.next
		b.mu.Unlock()
	case noTags(err):
		b.mu.Lock()
		b.pause.next = time.Now().Add(tagsRest)
		warned := b.pause.warned
		b.pause.warned = true
		b.mu.Unlock()
		if !warned {
			b.log.Warn("the queue's tags cannot be looked at, so a pause of the queue goes unseen; allow sqs:ListQueueTags", "broker", b.name, "error", err)
		}
	}
	return p.since
}

// noTags reports whether SQS, or what stands in for it, will not tell tags at all.
func noTags(err error) bool {
	var api smithy.APIError
	return denied(err) || errors.As(err, &api) && slices.Contains([]string{
		"UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", "InvalidAction", "UnknownOperationException", "UnknownOperation",
	}, api.ErrorCode())
}

// lookForPause asks SQS.
func (b *Broker) lookForPause(ctx context.Context) (since time.Time, err error) {
	cctx, cancel := b.main.call(ctx, callLimit)
	defer cancel()
	out, err := b.main.api.ListQueueTags(cctx, &awssqs.ListQueueTagsInput{QueueUrl: &b.main.url})
	if err != nil {
		return since, b.main.wrap(ctx, "look at the queue's tags", err)
	}
	if text, ok := out.Tags[pauseTag]; ok {
		if since, err = time.Parse(time.RFC3339, text); err != nil || since.IsZero() {
			since = time.Unix(0, 0).UTC() // somebody has written something else there: paused it is
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pause = pause{since: since, next: time.Now().Add(pauseAge)}
	return since, nil
}

// Pause implements brokers.Pauser. Other handles know of it some seconds later.
func (b *Broker) Pause(ctx context.Context) error {
	since, err := b.Paused(ctx)
	if err != nil || !since.IsZero() {
		return err
	}
	cctx, cancel := b.main.call(ctx, callLimit)
	defer cancel()
	_, err = b.main.api.TagQueue(cctx, &awssqs.TagQueueInput{QueueUrl: &b.main.url,
		Tags: map[string]string{pauseTag: b.serverNow().UTC().Format(time.RFC3339)}})
	if err != nil {
		return b.fail(b.main.wrap(ctx, "tag the queue as paused", err))
	}
	_, err = b.lookForPause(ctx)
	return b.fail(err)
}

// Resume implements brokers.Pauser.
func (b *Broker) Resume(ctx context.Context) error {
	if err := b.usable(ctx); err != nil {
		return b.fail(err)
	}
	cctx, cancel := b.main.call(ctx, callLimit)
	defer cancel()
	_, err := b.main.api.UntagQueue(cctx, &awssqs.UntagQueueInput{QueueUrl: &b.main.url, TagKeys: []string{pauseTag}})
	if err != nil {
		return b.fail(b.main.wrap(ctx, "untag the queue", err))
	}
	_, err = b.lookForPause(ctx)
	return b.fail(err)
}

// Paused implements brokers.Pauser.
func (b *Broker) Paused(ctx context.Context) (time.Time, error) {
	if err := b.usable(ctx); err != nil {
		return time.Time{}, b.fail(err)
	}
	since, err := b.lookForPause(ctx)
	return since, b.fail(err)
}

// Purge implements brokers.Purger. All dead letters are received for it, as for a listing;
// the retention period of their queue does the same for nothing.
func (b *Broker) Purge(ctx context.Context, before time.Time, limit int) (n int, err error) {
	if err := b.usable(ctx); err != nil {
		return 0, b.fail(err)
	}
	if limit < 1 || b.dead == nil {
		return 0, nil
	}
	var old []*message
	collect := func(m *message) bool {
		if m.buried().Before(before) {
			old = append(old, m)
		}
		return false
	}
	err = b.look(ctx, collect, func(ctx context.Context) (gone []*message, err error) {
		slices.SortFunc(old, func(a, b *message) int { return a.buried().Compare(b.buried()) })
		gone = old[:min(limit, len(old))]
		handles := make([]string, len(gone))
		for i, m := range gone {
			handles[i] = m.handle
		}
		n = len(gone)
		return gone, summary(b.dead.delete(ctx, handles), "dead letters were not deleted")
	})
	b.deadChanged()
	return n, b.fail(err)
}
