package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// envelopeVersion is the version that Encode writes. A reader refuses a higher one: a
// field that it does not know could change what a known one means.
const envelopeVersion = 1

// envelope is a task as it lies in a queue: JSON, so that producers in any language can
// write it. Unknown fields are ignored.
type envelope struct {
	Version   int             `json:"v"`
	ID        ID              `json:"id"`
	Type      string          `json:"type"`
	Params    json.RawMessage `json:"params,omitempty"`
	Priority  int             `json:"priority,omitempty"`
	TimeLimit float64         `json:"time_limit,omitempty"` // seconds; -1: none
	At        *time.Time      `json:"at,omitempty"`
	PushedAt  *time.Time      `json:"pushed_at,omitempty"`
	Undoes    ID              `json:"undoes,omitempty"`

	MaxAttempts int `json:"max_attempts,omitempty"`
}

// Encode returns the task as today's JSON envelope:
//
//	{"v":1, "id":ID, "type":TYPE, "params":{…}, "priority":0, "time_limit":SECONDS,
//	 "at":RFC3339, "pushed_at":RFC3339, "undoes":ID, "max_attempts":0}
//
// It does not validate the task.
func Encode(t *Task) ([]byte, error) {
	if b, ok := encodeOwn(t); ok {
		return b, nil
	}
	return encodeJSON(t)
}

// encodeJSON writes the envelope of any task.
func encodeJSON(t *Task) ([]byte, error) {
	e := envelope{Version: envelopeVersion, ID: t.ID, Type: t.Type, Params: t.Params, Priority: t.Priority, Undoes: t.Undoes, MaxAttempts: t.MaxAttempts}
	switch {
	case t.TimeLimit == NoTimeLimit:
		e.TimeLimit = -1
	default:
		e.TimeLimit = t.TimeLimit.Seconds()
	}
	if !t.At.IsZero() {
		at := t.At.UTC()
		e.At = &at
	}
	if !t.PushedAt.IsZero() {
		at := t.PushedAt.UTC()
		e.PushedAt = &at
	}
	// Params stay as they are: escaped for HTML they could grow beyond MaxEnvelopeBytes.
	var b bytes.Buffer
	b.Grow(len(t.Params) + 256)
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&e); err != nil {
		return nil, fmt.Errorf("encode task %s: %w", t.ID, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// Decode reads a task from today's JSON envelope and validates it. The result's parameters
// may be a part of b, which must not be changed afterwards.
func Decode(b []byte) (Task, error) {
	if len(b) > MaxEnvelopeBytes {
		return Task{}, fmt.Errorf("decode task: message is %d bytes, at most %d are allowed: %w", len(b), MaxEnvelopeBytes, ErrTooLarge)
	}
	if t, ok := decodeOwn(b); ok {
		return t, nil
	}
	return decodeJSON(b)
}

// decodeJSON reads a task from an envelope of any form.
func decodeJSON(b []byte) (Task, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return Task{}, fmt.Errorf("decode task: %w", err)
	}
	if e.Version < 1 || e.Version > envelopeVersion {
		return Task{}, fmt.Errorf("decode task: envelope version %d, this leptir reads version %d", e.Version, envelopeVersion)
	}
	limit, err := limitFromSeconds(e.TimeLimit)
	if err != nil {
		return Task{}, fmt.Errorf("decode task %s: %w", e.ID, err)
	}
	t := Task{ID: e.ID, Type: e.Type, Params: e.Params, Priority: e.Priority, TimeLimit: limit, Undoes: e.Undoes, MaxAttempts: e.MaxAttempts}
	if string(t.Params) == "null" {
		t.Params = nil
	}
	if e.At != nil {
		t.At = e.At.UTC()
	}
	if e.PushedAt != nil {
		t.PushedAt = e.PushedAt.UTC()
	}
	if err := t.Validate(); err != nil {
		return Task{}, fmt.Errorf("decode task: %w", err)
	}
	return t, nil
}

// limitFromSeconds turns the envelope's seconds into a TimeLimit: 0 the default, -1 none.
func limitFromSeconds(s float64) (time.Duration, error) {
	switch {
	case s == -1:
		return NoTimeLimit, nil
	case s < 0 || math.IsNaN(s):
		return 0, fmt.Errorf("time limit of %v seconds is negative", s)
	case s > math.MaxInt64/float64(time.Second)/2:
		return 0, fmt.Errorf("time limit of %v seconds is beyond what can be counted", s)
	}
	whole, fraction := math.Modf(s) // apart, and rounded: 1.025 * 1e9 is a little less than it should be
	return time.Duration(whole)*time.Second + time.Duration(math.Round(fraction*1e9)), nil
}
