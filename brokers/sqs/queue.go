package sqs

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/sync/errgroup"

	"github.com/backplane/leptir/brokers"
)

const (
	// batch is the most entries that one request of SQS takes.
	batch = 10
	// maxParallel is how many requests one call of the broker has under way at once.
	maxParallel = 8
	// callLimit bounds one request, the SDK's retries included; a long poll gets its wait
	// on top.
	callLimit = 15 * time.Second
	// maxAttempts and maxBackoff are for requests that SQS throttles or that fail on the
	// way, and for single entries of a batch that failed on SQS's side.
	maxAttempts = 5
	maxBackoff  = 2 * time.Second
	// oldBatchBytes is the least that one batch of messages may weigh together.
	oldBatchBytes = 256 << 10
)

// queue is one SQS queue: its requests, in batches, in parallel, each with a time limit.
type queue struct {
	name  string // of the setting that names it
	url   string
	api   *awssqs.Client
	clock *brokers.ServerClock
	life  context.Context // ends with the broker
	bytes int             // the most that a batch of messages may weigh
}

// traits are what a queue's attributes say of it.
type traits struct {
	fifo       bool
	maxMessage int           // bytes, attributes included
	retention  time.Duration // after which SQS deletes a message, whatever its state
	deadARN    string        // target of the redrive policy; "" if there is none
	maxReceive int           // how often it hands out a message before it goes there; 0: no limit
	inFlight   int           // messages that are leased or hidden, roughly
	asked      time.Time
}

// call returns the ctx for one request.
func (q *queue) call(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(q.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// answered notes how far SQS's clock and ours are apart. The time in SQS's answers has no
// fractions, so that less than two seconds say nothing, and nor does an answer that was
// long in coming: nobody knows how long it lay on its way.
func (q *queue) answered(began time.Time, m middleware.Metadata) {
	skew, ok := awsmiddleware.GetAttemptSkew(m)
	if !ok || time.Since(began) > 2*time.Second {
		return
	}
	q.clock.Set(time.Now().Add(skew))
}

// attributes asks for the queue's attributes.
func (q *queue) attributes(ctx context.Context, names ...types.QueueAttributeName) (map[string]string, error) {
	cctx, cancel := q.call(ctx, callLimit)
	defer cancel()
	began := time.Now()
	out, err := q.api.GetQueueAttributes(cctx, &awssqs.GetQueueAttributesInput{QueueUrl: &q.url, AttributeNames: names})
	if err != nil {
		return nil, q.wrap(ctx, "ask for the queue's attributes", err)
	}
	q.answered(began, out.ResultMetadata)
	return out.Attributes, nil
}

// traits asks what the queue is like. What SQS does not tell (emulators leave things out)
// has SQS's default.
func (q *queue) traits(ctx context.Context) (traits, error) {
	attributes, err := q.attributes(ctx, types.QueueAttributeNameAll)
	if err != nil {
		return traits{}, err
	}
	number := func(name types.QueueAttributeName, absent int) int {
		if n, err := strconv.Atoi(attributes[string(name)]); err == nil {
			return n
		}
		return absent
	}
	t := traits{
		fifo:       isFIFO(q.url) || attributes[string(types.QueueAttributeNameFifoQueue)] == "true",
		maxMessage: number(types.QueueAttributeNameMaximumMessageSize, oldBatchBytes),
		retention:  time.Duration(number(types.QueueAttributeNameMessageRetentionPeriod, 4*24*3600)) * time.Second,
		inFlight:   number(types.QueueAttributeNameApproximateNumberOfMessagesNotVisible, 0),
		asked:      time.Now(),
	}
	if text := attributes[string(types.QueueAttributeNameRedrivePolicy)]; text != "" {
		var policy struct {
			Target string      `json:"deadLetterTargetArn"`
			Max    json.Number `json:"maxReceiveCount"` // a number, or one in quotes
		}
		if err := json.Unmarshal([]byte(text), &policy); err != nil {
			return traits{}, fmt.Errorf("redrive policy of queue %s: %w", q.url, err)
		}
		max, err := strconv.Atoi(policy.Max.String())
		if err != nil {
			return traits{}, fmt.Errorf("redrive policy of queue %s: maxReceiveCount: %w", q.url, err)
		}
		t.deadARN, t.maxReceive = policy.Target, max
	}
	q.bytes = max(t.maxMessage, oldBatchBytes)
	return t, nil
}

// receive takes at most n messages, n from 1 to 10, and hides them for the given seconds.
// With no message there it waits for one for as long as wait.
func (q *queue) receive(ctx context.Context, n int, hide int32, wait time.Duration) ([]types.Message, error) {
	cctx, cancel := q.call(ctx, callLimit+wait)
	defer cancel()
	var options []func(*awssqs.Options)
	if wait == 0 {
		options = append(options, notWaiting)
	}
	began := time.Now()
	out, err := q.api.ReceiveMessage(cctx, &awssqs.ReceiveMessageInput{
		QueueUrl: &q.url, MaxNumberOfMessages: int32(n), VisibilityTimeout: hide,
		WaitTimeSeconds:       int32(wait / time.Second),
		MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{
			types.MessageSystemAttributeNameApproximateReceiveCount,
			types.MessageSystemAttributeNameApproximateFirstReceiveTimestamp,
			types.MessageSystemAttributeNameSentTimestamp,
		},
	}, options...)
	if err != nil {
		return nil, q.wrap(ctx, "receive messages", err)
	}
	q.answered(began, out.ResultMetadata)
	return out.Messages, nil
}

// outgoing is a message to send.
type outgoing struct {
	body       string
	attributes map[string]types.MessageAttributeValue
	delay      int32  // seconds
	group      string // for FIFO queues only, as is dedup
	dedup      string
	size       int // bytes, attributes included
}

// send sends messages; the result has an error, or nil, for each.
func (q *queue) send(ctx context.Context, ms []outgoing) []error {
	return q.inBatches(ctx, "send messages", len(ms), func(i int) int { return ms[i].size },
		func(ctx context.Context, idx []int) ([]types.BatchResultErrorEntry, error) {
			in := &awssqs.SendMessageBatchInput{QueueUrl: &q.url}
			for _, i := range idx {
				m := &ms[i]
				e := types.SendMessageBatchRequestEntry{
					Id: entryID(i), MessageBody: &m.body, MessageAttributes: m.attributes, DelaySeconds: m.delay,
				}
				if m.group != "" {
					e.MessageGroupId, e.MessageDeduplicationId = &m.group, &m.dedup
				}
				in.Entries = append(in.Entries, e)
			}
			began := time.Now()
			out, err := q.api.SendMessageBatch(ctx, in)
			if err != nil {
				return nil, err
			}
			q.answered(began, out.ResultMetadata)
			return out.Failed, nil
		})
}

// delete deletes messages by the receipt handles of their latest receive.
func (q *queue) delete(ctx context.Context, handles []string) []error {
	return q.inBatches(ctx, "delete messages", len(handles), nil,
		func(ctx context.Context, idx []int) ([]types.BatchResultErrorEntry, error) {
			in := &awssqs.DeleteMessageBatchInput{QueueUrl: &q.url}
			for _, i := range idx {
				in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: entryID(i), ReceiptHandle: &handles[i]})
			}
			began := time.Now()
			out, err := q.api.DeleteMessageBatch(ctx, in)
			if err != nil {
				return nil, err
			}
			q.answered(began, out.ResultMetadata)
			return out.Failed, nil
		})
}

// hide changes how long from now messages stay invisible, in seconds.
func (q *queue) hide(ctx context.Context, handles []string, seconds []int32) []error {
	return q.inBatches(ctx, "change the visibility of messages", len(handles), nil,
		func(ctx context.Context, idx []int) ([]types.BatchResultErrorEntry, error) {
			in := &awssqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.url}
			for _, i := range idx {
				in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{
					Id: entryID(i), ReceiptHandle: &handles[i], VisibilityTimeout: seconds[i],
				})
			}
			began := time.Now()
			out, err := q.api.ChangeMessageVisibilityBatch(ctx, in)
			if err != nil {
				return nil, err
			}
			q.answered(began, out.ResultMetadata)
			return out.Failed, nil
		})
}

func entryID(i int) *string { return aws.String(strconv.Itoa(i)) }

// inBatches carries out do for the entries 0 to n-1, at most ten at a time and no more
// bytes than SQS takes at once, several batches in parallel. do returns the entries that
// failed; those that failed on SQS's side are tried again. The result has an error, or
// nil, for each entry.
func (q *queue) inBatches(ctx context.Context, what string, n int, size func(i int) int,
	do func(ctx context.Context, idx []int) ([]types.BatchResultErrorEntry, error)) []error {
	errs := make([]error, n)
	var group errgroup.Group
	group.SetLimit(maxParallel)
	for start := 0; start < n; {
		var idx []int
		for bytes := 0; start < n && len(idx) < batch; start++ {
			if size != nil {
				if bytes += size(start); bytes > q.bytes && len(idx) > 0 {
					break
				}
			}
			idx = append(idx, start)
		}
		group.Go(func() error {
			q.oneBatch(ctx, what, idx, errs, do)
			return nil
		})
	}
	_ = group.Wait()
	return errs
}

// oneBatch carries out do for the entries idx and writes their errors into errs.
func (q *queue) oneBatch(ctx context.Context, what string, idx []int, errs []error,
	do func(ctx context.Context, idx []int) ([]types.BatchResultErrorEntry, error)) {
	for attempt := 1; len(idx) > 0; attempt++ {
		cctx, cancel := q.call(ctx, callLimit)
		failed, err := do(cctx, idx)
		cancel()
		if err != nil {
			err = q.wrap(ctx, what, err)
			for _, i := range idx {
				errs[i] = err
			}
			return
		}
		of := map[string]int{}
		for _, i := range idx {
			errs[i] = nil
			of[*entryID(i)] = i
		}
		idx = nil
		for _, f := range failed {
			i, ok := of[aws.ToString(f.Id)]
			if !ok {
				continue
			}
			e := &entryError{code: aws.ToString(f.Code), message: aws.ToString(f.Message), ours: f.SenderFault}
			errs[i] = fmt.Errorf("%s: %w", what, e)
			if !e.ours && !gone(e) {
				idx = append(idx, i)
			}
		}
		if attempt >= maxAttempts || len(idx) == 0 {
			return
		}
		select {
		case <-time.After(rand.N(min(maxBackoff, 50*time.Millisecond<<attempt)) + time.Millisecond):
		case <-ctx.Done():
			return
		case <-q.life.Done():
			return
		}
	}
}
