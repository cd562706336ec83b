package task

import (
	"encoding/json"
	"fmt"
	"time"
)

// Record is what is known of one task: the fields of the original leptir's "meta
// storage", the key/values that the task's own additional-meta-info method returned, and
// under the one extra key "leptir" what only this leptir keeps.
type Record struct {
	ID      ID         // "_id": the task's id
	Status  Status     // "status"
	RetC    ReturnCode // "retC"; 0 (not written) while the task has not ended
	ExTime  float64    // "exTime": execution time in seconds
	RespM   string     // "respM": the response lines, joined by a space
	Type    string     // "type": the task's type
	ExStart time.Time  // "exStart": when the execution started; zero (not written) before

	// Meta is the additional meta info. Its keys stand beside the fields above in the
	// written record and override them on a collision, as in the original; "_id", "id"
	// and "leptir" are the record's identity and cannot be overridden.
	Meta map[string]any

	// Run is leptir's own bookkeeping of the run that the record is about.
	Run Run
}

// Run is the part of a Record under the key "leptir".
type Run struct {
	// Attempt is the number of the attempt, from 1.
	Attempt int `json:"attempt,omitempty"`
	// Delivery orders the records of one task: it rises with every lease of the task, and
	// with every time that its id is pushed anew. A store never lets a record of a lower
	// Delivery replace one of a higher: it comes from a host that lost its lease.
	Delivery int `json:"delivery,omitempty"`
	// Failures are what the task's attempts so far have come to, this one included.
	Failures
	// Ended is when this attempt ended; zero while it has not. A host that gets the
	// attempt once more, because the one before died between record and ack, settles it
	// without a second run.
	Ended time.Time `json:"ended,omitzero"`
	// Retry is when the next attempt is due; zero where there is none.
	Retry time.Time `json:"retry,omitzero"`
	// Host names the host that ran it, Process the pid of the plugin process there.
	Host    string `json:"host,omitempty"`
	Process int    `json:"process,omitempty"`
	// Plugin names the plugin that ran it.
	Plugin string `json:"plugin,omitempty"`
	// States are the states that the task went through, in order.
	States []int `json:"states,omitempty"`
	// Error is the error text of a failed attempt; Stack its stack, where there is one.
	Error string `json:"error,omitempty"`
	Stack string `json:"stack,omitempty"`
	// Exit says how the process ended where the attempt ended with it.
	Exit *Exit `json:"exit,omitempty"`
	// Note says why a pending task waits, for example that no plugin serves its type.
	Note string `json:"note,omitempty"`
	// Progress is what the task last told of how far it is; nil if it has told nothing.
	Progress *Progress `json:"progress,omitempty"`
	// Result is the result value of the task, as JSON; nil where it set none.
	Result json.RawMessage `json:"result,omitempty"`
	// Undo is about the task that undoes this one, of a revertible task that failed for
	// good; nil where there is none. Undoes is the other side of it: the id of the task
	// that this one undoes.
	Undo   *Undo `json:"undo,omitempty"`
	Undoes ID    `json:"undoes,omitempty"`
}

// Failures counts, by their cause, what has gone wrong with a task since it was pushed, or
// put back from the dead letters.
type Failures struct {
	Errors    int `json:"errors,omitempty"`     // it returned an error, or panicked
	Crashes   int `json:"crashes,omitempty"`    // its process died while it ran
	Timeouts  int `json:"timeouts,omitempty"`   // it ran into its time limit
	HostsLost int `json:"hosts_lost,omitempty"` // its host died, or lost touch, while it ran
}

// deliverySpan is how many leases of one push can be told apart in a Run.Delivery.
const deliverySpan = 1_000_000

// DeliveryOrder returns the Run.Delivery of a task's lease of the given sequence number: by
// the second of the push, then by the lease. So a late record of a lost lease never replaces
// a newer one, and an id that is pushed anew after its task has ended starts a new record.
func DeliveryOrder(pushedAt time.Time, sequence int) int {
	n := min(sequence, deliverySpan-1)
	if at := pushedAt.Unix(); !pushedAt.IsZero() && at > 0 {
		n += int(at) * deliverySpan
	}
	return n
}

// PushedBy returns the time by which the task of a Run.Delivery was pushed, to the second;
// the zero time where it does not tell.
func PushedBy(delivery int) time.Time {
	if at := delivery / deliverySpan; at > 0 {
		return time.Unix(int64(at)+1, 0).UTC()
	}
	return time.Time{}
}

// SamePush reports whether two Run.Delivery are of leases of one push.
func SamePush(a, b int) bool { return a/deliverySpan == b/deliverySpan }

// Progress is how far a task is.
type Progress struct {
	Fraction float64 `json:"fraction"`       // from 0 to 1
	Text     string  `json:"text,omitempty"` // what it is at, for people
}

// UndoState says what became of the undoing of a failed task.
type UndoState string

// The states of an undo.
const (
	// UndoPending: the task that undoes it is still to be made and pushed. Whoever gets
	// the failed task delivered again does so before it settles it.
	UndoPending UndoState = "pending"
	// UndoPushed: it is queued, or has run.
	UndoPushed UndoState = "pushed"
	// UndoFailed: it could not be made; Error says why.
	UndoFailed UndoState = "failed"
)

// Undo is about the task that undoes a failed one.
type Undo struct {
	State UndoState `json:"state"`
	ID    ID        `json:"id,omitempty"`    // the task that undoes it (pushed)
	Type  string    `json:"type,omitempty"`  // its type
	Error string    `json:"error,omitempty"` // why there is none (failed)
}

// Exit is the end of a plugin process as a record tells it.
type Exit struct {
	Reason     string   `json:"reason"`                // one of a closed set, see host/process
	Code       int      `json:"code,omitempty"`        // exit code, where it exited
	Signal     string   `json:"signal,omitempty"`      // signal name, where one ended it
	PeakMemory int64    `json:"peak_memory,omitempty"` // bytes, largest resident set
	CPUSeconds float64  `json:"cpu_seconds,omitempty"` // user and system time
	Stderr     []string `json:"stderr,omitempty"`      // the last lines it wrote
}

// fields is the fixed part of a record in the spec's names.
type fields struct {
	ID      ID         `json:"_id"`
	Status  Status     `json:"status"`
	RetC    ReturnCode `json:"retC,omitempty"`
	ExTime  float64    `json:"exTime"`
	RespM   string     `json:"respM"`
	Type    string     `json:"type"`
	ExStart time.Time  `json:"exStart,omitzero"`
	Run     Run        `json:"leptir"`
}

// MarshalJSON writes the record as one JSON object with the spec's field names, the
// additional meta info merged over them.
func (r Record) MarshalJSON() ([]byte, error) {
	b, err := appendRecord(make([]byte, 0, 512), &r)
	if err != nil || len(r.Meta) == 0 {
		return b, err
	}
	m := map[string]json.RawMessage{} // not any: large numbers keep their digits
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	for k, v := range r.Meta {
		if ReservedMeta(k) {
			continue
		}
		if m[k], err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("meta info %q: %w", k, err)
		}
	}
	return json.Marshal(m)
}

// ReservedMeta reports whether k cannot be used as a key of additional meta info.
func ReservedMeta(k string) bool { return k == "_id" || k == "id" || k == "leptir" }

// UnmarshalJSON reads what MarshalJSON wrote. A field that the additional meta info has
// overridden is found in Meta if its value does not fit the field's type.
func (r *Record) UnmarshalJSON(b []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	*r = Record{}
	known := map[string]any{
		"_id": &r.ID, "status": &r.Status, "retC": &r.RetC, "exTime": &r.ExTime,
		"respM": &r.RespM, "type": &r.Type, "exStart": &r.ExStart, "leptir": &r.Run,
	}
	for k, v := range raw {
		if dst, ok := known[k]; ok {
			if err := json.Unmarshal(v, dst); err == nil {
				continue
			} else if k == "_id" || k == "leptir" {
				return fmt.Errorf("decode record: field %q: %w", k, err)
			}
		}
		var x any
		if err := json.Unmarshal(v, &x); err != nil {
			return fmt.Errorf("decode record: field %q: %w", k, err)
		}
		if r.Meta == nil {
			r.Meta = map[string]any{}
		}
		r.Meta[k] = x
	}
	return nil
}
