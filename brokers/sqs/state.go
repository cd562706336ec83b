package sqs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

const (
	// stateAttribute is the name of the message attribute that holds the state.
	stateAttribute = "leptir"
	stringType     = "String"
	// maxAttributes is how many attributes SQS allows a message.
	maxAttributes = 10
	// stateRoom is what a push leaves free in the largest message, for the state that a
	// later copy of the message carries.
	stateRoom = 1 << 10
	// maxCount bounds the counters that a message can claim.
	maxCount = 1 << 30
)

// state is what befell a task before the copy of it that is in the queue now. SQS counts
// for each copy how often it was received; the rest travels with the copy, as JSON in a
// message attribute. A message without one is as its producer sent it.
type state struct {
	Attempts int `json:"attempts,omitempty"` // counted ones
	Sequence int `json:"sequence,omitempty"` // leases before this copy
	Lost     int `json:"lost,omitempty"`     // leases before this copy that ended by themselves
	// Due is when the task is due, where that is too far ahead for a delay of SQS. Zero
	// says that SQS itself keeps it back until it is due.
	Due    time.Time `json:"due,omitzero"`
	Note   string    `json:"note,omitempty"`   // why it is parked
	Dead   bool      `json:"dead,omitempty"`   // a dead letter that waits for a queue of its own
	Buried time.Time `json:"buried,omitzero"`  // of a dead letter in its queue
	Again  bool      `json:"again,omitempty"`  // a dead letter that was put back, to run whatever its record says
	ID     task.ID   `json:"id,omitempty"`     // of an unreadable message
	Reason string    `json:"reason,omitempty"` // why it was buried, for whoever looks at it in AWS's console

	History []brokers.Event `json:"history,omitempty"`
}

// parseState reads the state of a message, which anybody may have written. ok is false
// where the message has none.
func parseState(attributes map[string]types.MessageAttributeValue) (s state, ok bool, err error) {
	a, ok := attributes[stateAttribute]
	if !ok {
		return state{}, false, nil
	}
	if a.StringValue == nil {
		return state{}, true, fmt.Errorf("message attribute %q is no text", stateAttribute)
	}
	if err := json.Unmarshal([]byte(*a.StringValue), &s); err != nil {
		return state{}, true, fmt.Errorf("message attribute %q: %w", stateAttribute, err)
	}
	for _, n := range []int{s.Attempts, s.Sequence, s.Lost} {
		if n < 0 || n > maxCount {
			return state{}, true, fmt.Errorf("message attribute %q has a counter of %d", stateAttribute, n)
		}
	}
	if s.ID != "" {
		if err := s.ID.Validate(); err != nil {
			return state{}, true, fmt.Errorf("message attribute %q: %w", stateAttribute, err)
		}
	}
	s.History = s.History[max(0, len(s.History)-brokers.MaxHistory):]
	return s, true, nil
}

// anew returns the state of a dead letter that is put back: attempts and losses are counted
// from anew. The sequence goes on, because records are ordered by it.
func (s state) anew() state {
	return state{Sequence: s.Sequence, ID: s.ID, History: s.History, Again: true}
}

// errNoRoom says that a message has not even room for the shortest state.
var errNoRoom = errors.New("message has no room for its state")

// attributes returns the attributes of a copy: the producer's own and the state, which is
// cut to fit into room bytes, history first.
func (s state) attributes(own map[string]types.MessageAttributeValue, room int) (map[string]types.MessageAttributeValue, int, error) {
	room -= sizeOf(own)
	for {
		b, err := json.Marshal(&s)
		if err != nil {
			return nil, 0, err
		}
		text := legalText(string(b))
		size := len(stateAttribute) + len(stringType) + len(text)
		if size <= room {
			all := make(map[string]types.MessageAttributeValue, len(own)+1)
			for k, v := range own {
				all[k] = v
			}
			all[stateAttribute] = types.MessageAttributeValue{DataType: aws.String(stringType), StringValue: &text}
			return all, size + sizeOf(own), nil
		}
		switch over := size - room; {
		case len(s.History) > 1:
			s.History = s.History[1:]
		case len(s.History) > 0 && s.Reason != "": // the history says it too
			s.Reason = ""
		case len(s.History) == 1 && len(s.History[0].Reason) > 0:
			last := s.History[0]
			last.Reason = shorter(last.Reason, over)
			s.History = []brokers.Event{last}
		case len(s.History) == 1:
			s.History = nil
		case s.Reason != "":
			s.Reason = shorter(s.Reason, over)
		case s.Note != "":
			s.Note = shorter(s.Note, over)
		default:
			return nil, 0, errNoRoom
		}
	}
}

// shorter cuts at least over bytes, or one, off the end of a text.
func shorter(text string, over int) string {
	keep := max(0, len(text)-max(1, over))
	return strings.ToValidUTF8(text[:keep], "")
}

// sizeOf returns what attributes count towards the size of a message.
func sizeOf(attributes map[string]types.MessageAttributeValue) int {
	n := 0
	for k, v := range attributes {
		n += len(k) + len(aws.ToString(v.DataType)) + len(aws.ToString(v.StringValue)) + len(v.BinaryValue)
	}
	return n
}

// legalText escapes the two characters that JSON allows in a string and SQS refuses.
var legalText = strings.NewReplacer("\uFFFE", `\ufffe`, "\uFFFF", `\uffff`).Replace
