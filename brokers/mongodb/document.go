package mongodb

import (
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// A document is one task. A pushed one has the fields _id, type, task, state and due; the
// others come and go.
const (
	fID       = "_id"      // the task's id; of a foreign document whatever its producer chose
	fTaskID   = "id"       // the task's id where it is not _id: only of foreign documents
	fType     = "type"     // the task's type, for people: leptir reads it from task
	fTask     = "task"     // the message, as text (a foreign one's may be binary)
	fState    = "state"    // one of the three below
	fDue      = "due"      // when it is or was due
	fToken    = "token"    // names the lease; stays when a lease ends by itself
	fUntil    = "until"    // when the lease ends
	fLeases   = "leases"   // how often it has been leased
	fAttempts = "attempts" // attempts counted so far
	fLost     = "lost"     // leases that ended by themselves, and were seen to
	fNote     = "note"     // why it is parked
	fHistory  = "history"  // the newest events: {time, attempt, what, reason}
	fBuried   = "buried"   // when it was buried

	fCancelled = "cancelled" // when somebody wished that the task ends while it was leased
	fCancel    = "cancel"    // that wish, as JSON
)

// The states of a document. Whether a waiting one is ready or scheduled, and whether a
// leased one's lease has ended, the clock says.
const (
	waiting = "waiting"
	leased  = "leased"
	dead    = "dead"
)

const (
	maxHistory = 32       // events that a document keeps; older ones fall off
	maxReason  = 64 << 10 // bytes of an event's reason
)

// newDocument returns the document of a task that is pushed at the given time.
func newDocument(t *task.Task, now time.Time) (bson.D, error) {
	text, err := task.Encode(t)
	if err != nil {
		return nil, err
	}
	return bson.D{
		{Key: fID, Value: string(t.ID)}, {Key: fType, Value: t.Type}, {Key: fTask, Value: string(text)},
		{Key: fState, Value: waiting}, {Key: fDue, Value: dueDate(t, now)},
	}, nil
}

// dueDate returns when a task that is pushed now is due. A producer whose clock is fast does
// not delay a task that is to run at once.
func dueDate(t *task.Task, now time.Time) bson.DateTime {
	switch {
	case !t.At.IsZero():
		return date(t.At)
	case t.PushedAt.IsZero() || t.PushedAt.After(now):
		return date(now)
	}
	return date(t.PushedAt)
}

// date returns a time as MongoDB keeps it, in milliseconds. It is rounded up: nothing is due
// before its time.
func date(t time.Time) bson.DateTime {
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return bson.DateTime(ms)
}

// document is what is read of a document. Fields that are missing or of another type than
// leptir writes are zero: a document that somebody has changed by hand must not stop others.
type document struct {
	key      bson.RawValue // _id
	id       task.ID       // the task's
	foreign  bool          // id is in fTaskID
	source   bson.Raw      // the document itself
	state    string
	due      time.Time
	token    string
	until    time.Time
	leases   int
	attempts int
	lost     int
	note     string
	buried   time.Time
	cancel   string
	history  []brokers.Event
}

// readDocument reads as much of a document as is there; a projection leaves fields out.
func readDocument(r bson.Raw) *document {
	d := &document{
		key:      r.Lookup(fID),
		state:    text(r, fState),
		due:      moment(r, fDue),
		token:    text(r, fToken),
		until:    moment(r, fUntil),
		leases:   number(r, fLeases),
		attempts: number(r, fAttempts),
		lost:     number(r, fLost),
		note:     text(r, fNote),
		buried:   moment(r, fBuried),
		cancel:   text(r, fCancel),
		source:   r,
	}
	if id, ok := r.Lookup(fTaskID).StringValueOK(); ok {
		d.id, d.foreign = task.ID(id), true
	} else if id, ok := d.key.StringValueOK(); ok {
		d.id = task.ID(id)
	}
	if list, ok := r.Lookup(fHistory).ArrayOK(); ok {
		values, _ := list.Values()
		for _, v := range values[max(0, len(values)-maxHistory):] { // not every server heeds $slice
			if e, ok := v.DocumentOK(); ok {
				d.history = append(d.history, brokers.Event{
					Time: moment(e, "time"), Attempt: number(e, "attempt"), What: text(e, "what"), Reason: text(e, "reason"),
				})
			}
		}
	}
	return d
}

func text(r bson.Raw, field string) string { s, _ := r.Lookup(field).StringValueOK(); return s }

func number(r bson.Raw, field string) int { n, _ := r.Lookup(field).AsInt64OK(); return int(n) }

func moment(r bson.Raw, field string) time.Time {
	ms, ok := r.Lookup(field).DateTimeOK()
	if !ok {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// message returns the bytes of a text or of binary data, and nil of anything else.
func message(v bson.RawValue) []byte {
	if s, ok := v.StringValueOK(); ok {
		return []byte(s)
	}
	_, b, _ := v.BinaryOK()
	return b
}

// decode returns the message of a document and its task, or why the message cannot be read;
// then only the ID of the task is filled in.
func (b *Broker) decode(d *document) (raw []byte, t task.Task, err error) {
	raw = message(d.source.Lookup(fTask))
	if raw == nil {
		raw = []byte(foreignText(d.source))
	}
	if t, err = task.DecodeAny(raw, b.aliases); err != nil {
		return raw, task.Task{ID: d.id}, err
	}
	t.ID = d.id
	return raw, t, nil
}

// event returns an entry of a document's history.
func event(now time.Time, attempt int, what, reason string) bson.D {
	e := bson.D{{Key: "time", Value: bson.NewDateTimeFromTime(now)}, {Key: "attempt", Value: attempt}, {Key: "what", Value: what}}
	if reason != "" {
		e = append(e, bson.E{Key: "reason", Value: clip(reason)})
	}
	return e
}

// clip returns a reason as it can be kept: valid UTF-8, and short enough for the server's
// limit of 16 MiB for a document not to be met by a long history.
func clip(reason string) string {
	if len(reason) > maxReason {
		reason = reason[:maxReason] + "…"
	}
	return strings.ToValidUTF8(reason, "\uFFFD")
}

// remember returns the update that adds an event to the history.
func remember(e bson.D) bson.E {
	return bson.E{Key: "$push", Value: bson.D{{Key: fHistory, Value: bson.D{
		{Key: "$each", Value: bson.A{e}}, {Key: "$slice", Value: -maxHistory},
	}}}}
}
