package brokers

import (
	"encoding/json"
	"time"
)

// MaxGrace is the longest grace of a Cancellation.
const MaxGrace = 24 * time.Hour

// Encode returns the cancellation as brokers keep it, JSON, its reason cut to
// MaxReasonBytes.
func (c Cancellation) Encode() (string, error) {
	c.At = c.At.UTC()
	c.Reason = clipReason(c.Reason)
	b, err := json.Marshal(c)
	return string(b), err
}

// DecodeCancellation reads what Encode wrote. Whatever else lies in its place is still
// somebody's wish that the task ends: it is a cancellation without a grace.
func DecodeCancellation(text string) Cancellation {
	var c Cancellation
	if json.Unmarshal([]byte(text), &c) != nil {
		return Cancellation{Reason: "cancelled by an unreadable mark"}
	}
	c.Grace = max(0, min(c.Grace, MaxGrace))
	c.Reason = clipReason(c.Reason)
	return c
}
