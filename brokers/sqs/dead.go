package sqs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
)

// learn asks SQS what the queue is like and finds its queue for dead letters: the one at
// deadURI, else the target of its redrive policy, else none.
func (b *Broker) learn(ctx context.Context, deadURI string) error {
	t, err := b.main.traits(ctx)
	if err != nil {
		return err
	}
	if t.fifo && t.maxReceive == 1 {
		return fmt.Errorf("the redrive policy of queue %s has a maxReceiveCount of 1: a FIFO queue delays no single message, so that leptir must receive a task that is not due to hide it; make it 2 or more", b.main.url)
	}
	b.known.Store(&t)
	b.dead, err = b.findDead(ctx, deadURI, t.deadARN)
	if err == nil && b.dead != nil {
		var dt traits
		dt, err = b.dead.traits(ctx)
		b.room = dt.maxMessage
	}
	if denied(err) { // a producer may well have no business with dead letters
		b.log.Warn("no access to the queue for dead letters: they stay in the queue itself, marked and hidden", "broker", b.name, "error", err)
		b.dead, err = nil, nil
	} else if err == nil && b.dead == nil {
		b.log.Warn("the queue has neither sqs_dead_queue nor a redrive policy: dead letters stay in the queue itself, marked and hidden, and cannot be listed",
			"broker", b.name, "queue", b.main.url)
	}
	return err
}

// denied reports whether AWS refused for want of a permission.
func denied(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && strings.HasPrefix(api.ErrorCode(), "AccessDenied")
}

func (b *Broker) findDead(ctx context.Context, uri, arn string) (*queue, error) {
	q := *b.main
	q.name, q.url = "sqs_dead_queue", uri
	if uri != "" {
		return &q, nil
	}
	if arn == "" {
		return nil, nil
	}
	q.name = "the redrive policy of sqs_queue"
	parts := strings.Split(arn, ":") // arn:aws:sqs:REGION:ACCOUNT:NAME
	if len(parts) != 6 {
		return nil, fmt.Errorf("the redrive policy of queue %s names %q, which is no ARN of a queue", b.main.url, arn)
	}
	cctx, cancel := q.call(ctx, callLimit)
	defer cancel()
	out, err := q.api.GetQueueUrl(cctx, &awssqs.GetQueueUrlInput{QueueName: &parts[5], QueueOwnerAWSAccountId: &parts[4]})
	if err != nil {
		q.url = arn
		return nil, q.wrap(ctx, "find the queue for dead letters", err)
	}
	q.url = aws.ToString(out.QueueUrl)
	return &q, nil
}

// letter returns the message that buries a task.
func (b *Broker) letter(m *message, s state, reason string, now time.Time) (outgoing, error) {
	if b.dead == nil {
		s.Dead = true
		return b.copyOf(m, s, now.Add(forEver))
	}
	s.Buried, s.Reason = now, reason
	attributes, size, err := s.attributes(m.own, b.room-len(m.body))
	if err != nil {
		return outgoing{}, err
	}
	out := outgoing{body: m.body, attributes: attributes, size: len(m.body) + size}
	if isFIFO(b.dead.url) {
		out.group, out.dedup = digest(string(m.task.ID)), digest("bury", m.messageID)
	}
	return out, nil
}

// parkLetters sees to dead letters in the main queue. They are there because there was no
// other queue for them; if there is one now, they move.
func (b *Broker) parkLetters(ctx context.Context, ms []*message) {
	if len(ms) == 0 {
		return
	}
	if b.dead == nil {
		b.hideLetters(ctx, ms)
		return
	}
	var (
		out  []outgoing
		of   []*message
		done []*message
	)
	now := time.Now().UTC()
	for _, m := range ms {
		s := m.state
		s.Dead, s.Due = false, time.Time{}
		reason := ""
		if n := len(s.History); n > 0 {
			reason = s.History[n-1].Reason
		}
		o, err := b.letter(m, s, reason, now)
		if err != nil {
			b.log.Warn("could not move a dead letter", "broker", b.name, "task", m.task.ID, "error", err)
			continue
		}
		out, of = append(out, o), append(of, m)
	}
	for i, err := range b.dead.send(ctx, out) {
		if err == nil {
			done = append(done, of[i])
		} else if ctx.Err() == nil {
			b.log.Warn("could not move a dead letter; it comes back by itself", "broker", b.name, "task", of[i].task.ID, "error", err)
		}
	}
	b.drop(ctx, done)
	b.deadChanged()
}

// hideLetters hides dead letters that have no queue of their own for as long as SQS allows.
func (b *Broker) hideLetters(ctx context.Context, ms []*message) {
	t := b.freshTraits(ctx)
	var (
		handles []string
		secs    []int32
		anew    []*message
	)
	for _, m := range ms {
		if d := b.hideTime(t, m, forEver); d > 0 {
			handles, secs = append(handles, m.handle), append(secs, seconds(d))
		} else {
			anew = append(anew, m)
		}
	}
	if err := summary(b.main.hide(ctx, handles, secs), "dead letters were not hidden"); err != nil && ctx.Err() == nil {
		b.log.Warn("could not hide dead letters; they come back soon", "broker", b.name, "error", err)
	}
	never := b.serverNow().Add(forEver)
	b.replace(ctx, anew, func(m *message) (state, time.Time) { return m.state, never })
}
