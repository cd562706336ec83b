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
	if len(e.Reason) > MaxReasonBytes {
		e.Reason = strings.ToValidUTF8(e.Reason[:MaxReasonBytes-len("…")], "") + "…"
	}
	history = append(history, e)
	return history[max(0, len(history)-MaxHistory):]
}
