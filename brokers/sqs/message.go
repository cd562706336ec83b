package sqs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

const (
	// maxDelay is the longest that SQS keeps a sent message back.
	maxDelay = 15 * time.Minute
	// maxHidden is the longest that SQS keeps a received message hidden, counted from its
	// receive.
	maxHidden = 12 * time.Hour
	// maxTimeLimit is the longest time limit of a task: its lease, which begins before the
	// task does and ends after it, must fit into maxHidden.
	maxTimeLimit = maxHidden - 10*time.Minute
)

// message is a message as it was received.
type message struct {
	task       task.Task // only the ID of an unreadable one
	unreadable error
	body       string
	own        map[string]types.MessageAttributeValue // the producer's own attributes
	state      state
	stated     bool // the message had a state

	messageID string
	handle    string    // receipt handle, of the latest receive
	receives  int       // of this copy
	first     time.Time // when this copy was first received, by SQS's clock
	sent      time.Time // when it was sent, by SQS's clock
	received  time.Time // before it was received, by our clock: what SQS counts from is later
	until     time.Time // when it is visible again at the earliest, by our clock
}

// read makes a message of what SQS delivered in answer to a request that began at started
// and hides messages for the given seconds.
func (b *Broker) read(in types.Message, started time.Time, hide int32) *message {
	m := &message{
		body: aws.ToString(in.Body), messageID: aws.ToString(in.MessageId), handle: aws.ToString(in.ReceiptHandle),
		received: started, until: started.Add(time.Duration(hide) * time.Second),
	}
	var err error
	m.receives, err = strconv.Atoi(in.Attributes["ApproximateReceiveCount"])
	if err != nil || m.receives < 1 || m.receives > maxCount {
		m.receives = 1
	}
	m.sent = millis(in.Attributes["SentTimestamp"])
	if m.first = millis(in.Attributes["ApproximateFirstReceiveTimestamp"]); m.first.IsZero() {
		m.first = b.serverNow()
	}
	m.state, m.stated, m.unreadable = parseState(in.MessageAttributes)
	for _, name := range slices.Sorted(maps.Keys(in.MessageAttributes)) {
		if name != stateAttribute && len(m.own) < maxAttributes-1 {
			if m.own == nil {
				m.own = map[string]types.MessageAttributeValue{}
			}
			m.own[name] = in.MessageAttributes[name]
		}
	}
	var bodyErr error
	m.task, bodyErr = task.DecodeAny([]byte(m.body), b.aliases)
	if m.unreadable == nil {
		m.unreadable = bodyErr
	}
	if m.unreadable != nil {
		m.task = task.Task{ID: unreadableID(m, bodyErr == nil)}
		m.state.ID = m.task.ID
	}
	return m
}

// unreadableID returns the id by which an unreadable message can be handled: that of its
// body, where only the state cannot be read, else one made of SQS's id for the message that
// was first in the queue.
func unreadableID(m *message, goodBody bool) task.ID {
	if goodBody {
		return m.task.ID
	}
	if m.state.ID != "" {
		return m.state.ID
	}
	if id := task.ID("sqs-" + m.messageID); id.Validate() == nil {
		return id
	}
	return task.ID("sqs-" + digest(m.messageID)) // no SQS that we know makes such an id
}

// millis reads a time as SQS writes it.
func millis(text string) time.Time {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(n)
}

// due returns when the task is due, zero where SQS itself sees to that. A message without
// a state is as its producer sent it: then the task says it.
func (m *message) due() time.Time {
	if m.stated {
		return m.state.Due
	}
	return m.task.At
}

// early reports whether some receive of this copy, perhaps this one, came before the task
// was due. Such receives were no leases, and how many there were cannot be known: the copy
// must be replaced by one whose every receive is a lease.
func (m *message) early() bool {
	due := m.due()
	return !due.IsZero() && m.first.Before(due)
}

// lost returns how many leases of the task have ended by themselves, given that every
// receive of this copy was a lease and that this is the latest.
func (m *message) lost() int { return m.state.Lost + m.receives - 1 }

// sequence returns how often the task has been leased, this receive included.
func (m *message) sequence() int { return m.state.Sequence + m.receives }

// delivery shows a leased message to the host.
func (m *message) delivery(token string) brokers.Delivery {
	d := brokers.Delivery{
		Task: m.task, Token: token, Attempt: m.state.Attempts + 1, Sequence: m.sequence(), Lost: m.lost(),
		// SQS may deliver any message twice. One that an operator has put back, though, is to
		// run although its record says that it has ended.
		Repeated: !m.state.Again || m.receives > 1,
		Until:    m.until,
	}
	if m.unreadable != nil {
		d.Raw, d.Unreadable = []byte(m.body), m.unreadable
	}
	return d
}

// next returns the state of a copy that follows a lease of m: what SQS has counted for m
// is added to what m brought along.
func (m *message) next() state {
	s := m.state
	s.Lost, s.Sequence = m.lost(), m.sequence()
	s.Due, s.Note, s.Dead, s.Buried, s.Reason, s.Again = time.Time{}, "", false, time.Time{}, "", false
	s.History = slices.Clone(s.History)
	for range min(m.receives-1, brokers.MaxHistory) {
		s.History = brokers.AddEvent(s.History, brokers.Event{
			Time: m.received.UTC(), Attempt: s.Attempts + 1, What: "lost", Reason: "the lease ended by itself",
		})
	}
	return s
}

// copyOf returns a copy of m with another state, to be delivered when it is due: at once
// where due is zero. The errors are errNoRoom and those of encoding.
func (b *Broker) copyOf(m *message, s state, due time.Time) (outgoing, error) {
	t := b.traits()
	wait := time.Duration(0)
	if !due.IsZero() {
		wait = due.Sub(b.serverNow())
	}
	s.Due = time.Time{}
	if wait > b.maxDelay() {
		s.Due = due.UTC()
	}
	attributes, size, err := s.attributes(m.own, t.maxMessage-len(m.body))
	if err != nil {
		return outgoing{}, err
	}
	out := outgoing{body: m.body, attributes: attributes, size: len(m.body) + size}
	out.delay = b.delay(wait)
	if t.fifo {
		// A deduplication id made of the message that is copied: should the copy be sent
		// twice, SQS drops the second.
		out.group, out.dedup = digest(string(m.task.ID)), digest(m.messageID, strconv.Itoa(m.receives))
	}
	return out, nil
}

// produce returns the first message of a task.
func (b *Broker) produce(t *task.Task) (outgoing, error) {
	traits := b.traits()
	if t.TimeLimit > maxTimeLimit {
		return outgoing{}, fmt.Errorf("task %s has a time limit of %v: SQS lets nobody hold a message for longer than %v, so that a task can run for %v at most",
			t.ID, t.TimeLimit, maxHidden, maxTimeLimit)
	}
	encoded, err := task.Encode(t)
	if err != nil {
		return outgoing{}, err
	}
	if !utf8.Valid(encoded) {
		return outgoing{}, fmt.Errorf("parameters of task %s are not valid UTF-8, which SQS does not take", t.ID)
	}
	out := outgoing{body: legalText(string(encoded))}
	out.size = len(out.body)
	if most := traits.maxMessage - stateRoom; out.size > most {
		return outgoing{}, fmt.Errorf("task %s takes %d bytes, this queue has room for %d (its MaximumMessageSize is %d): %w; put large data elsewhere and pass its address",
			t.ID, out.size, most, traits.maxMessage, task.ErrTooLarge)
	}
	if wait := t.At.Sub(b.serverNow()); !t.At.IsZero() && wait > 0 {
		out.delay = b.delay(wait)
		if wait <= b.maxDelay() {
			// SQS keeps it back until it is due: the state, though empty, says so.
			var size int
			out.attributes, size, err = state{}.attributes(nil, stateRoom)
			if err != nil {
				return outgoing{}, err
			}
			out.size += size
		}
	}
	if traits.fifo {
		out.group, out.dedup = digest(string(t.ID)), digest("push", string(t.ID))
	}
	return out, nil
}

// maxDelay returns the longest that a message can be kept back when it is sent. SQS
// deletes a message when its retention period is over, delayed or not.
func (b *Broker) maxDelay() time.Duration {
	t := b.traits()
	if t.fifo { // takes no delay of single messages
		return 0
	}
	return min(maxDelay, t.retention/4).Truncate(time.Second)
}

// delay returns the seconds for which SQS is told to keep a message back.
func (b *Broker) delay(wait time.Duration) int32 {
	return max(0, seconds(min(wait, b.maxDelay())))
}

// seconds rounds up to the whole seconds that SQS counts in.
func seconds(d time.Duration) int32 {
	return int32((d + time.Second - 1) / time.Second)
}

// digest names something in the letters that SQS allows for the ids of FIFO queues.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
