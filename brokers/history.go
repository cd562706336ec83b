package brokers

import "strings"

const (
	// MaxHistory is how many events an Item's history keeps; older ones fall off.
	MaxHistory = 32
	// MaxReasonBytes is the most of an event's reason that is kept, in bytes.
	MaxReasonBytes = 4096
)

// AddEvent returns the history with the event at its end, within the limits above.
func AddEvent(history []Event, e Event) []Event {
	e.Reason = clipReason(e.Reason)
	history = append(history, e)
	return history[max(0, len(history)-MaxHistory):]
}

// clipReason cuts a reason to MaxReasonBytes.
func clipReason(s string) string {
	if len(s) > MaxReasonBytes {
		return strings.ToValidUTF8(s[:MaxReasonBytes-len("…")], "") + "…"
	}
	return s
}
