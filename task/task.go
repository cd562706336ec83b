// Package task is leptir's vocabulary: what a task, its identity, its outcome and its
// record are, and how they are written down. Everything else in leptir speaks in these
// words; this package knows nothing of brokers, plugins, processes or configuration.
package task

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	// MaxIDBytes is the longest ID, in bytes.
	MaxIDBytes = 128
	// MaxTypeBytes is the longest task type, in bytes.
	MaxTypeBytes = 128
	// MaxParamsBytes is the most that a task's parameters may take, as JSON text.
	MaxParamsBytes = 1 << 20
	// MostAttempts is the greatest MaxAttempts of a task.
	MostAttempts = 1000
	// MaxEnvelopeBytes is the most that an encoded task may take. A larger message in a
	// queue is unreadable by definition.
	MaxEnvelopeBytes = MaxParamsBytes + 64<<10
)

// NoTimeLimit as a Task's TimeLimit says that the task may run for ever, whatever the
// host's default is.
const NoTimeLimit time.Duration = -1

// ErrTooLarge is wrapped by the error of a task whose parameters or envelope exceed the
// size limits above.
var ErrTooLarge = errors.New("too large")

// ID names one task for all of its life. It is opaque: producers may bring their own.
type ID string

// NewID returns a new unique ID, a UUIDv7: ids made later sort later.
func NewID() ID {
	id, err := uuid.NewV7()
	if err != nil {
		// Only a machine without a source of randomness gets here; v4 fails alike and
		// panics inside the library with the reason.
		id = uuid.New()
	}
	return ID(id.String())
}

// Validate reports why the id cannot be used: empty, longer than MaxIDBytes, not UTF-8,
// or with white space or control characters (ids are printed alone on a line).
func (id ID) Validate() error {
	switch {
	case id == "":
		return errors.New("task id is empty")
	case len(id) > MaxIDBytes:
		return fmt.Errorf("task id is %d bytes long, at most %d are allowed", len(id), MaxIDBytes)
	case !utf8.ValidString(string(id)):
		return errors.New("task id is not valid UTF-8")
	}
	for _, r := range string(id) {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			return fmt.Errorf("task id %q has white space or control characters", string(id))
		}
	}
	return nil
}

// Task is one piece of work as a producer hands it over. The zero values of Priority,
// TimeLimit and At mean "the default".
type Task struct {
	// ID is the task's identity; pushing the same ID twice queues one task.
	ID ID
	// Type says which plugin code runs it, for example "mailer.send".
	Type string
	// Params is a JSON object (or empty, which means {}).
	Params json.RawMessage
	// Priority is what the producer asked for; a lower number is more urgent. It has
	// chosen the broker and has no influence inside one.
	Priority int
	// TimeLimit is the most time the task may run in its process; 0 is the host's
	// default, NoTimeLimit is none.
	TimeLimit time.Duration
	// At is the time before which the task does not run; zero means at once.
	At time.Time
	// PushedAt is when the producer pushed it.
	PushedAt time.Time
	// MaxAttempts is how often it is attempted if it fails; 0 is what its plugin or host
	// says.
	MaxAttempts int
	// Undoes is the id of the task that this one undoes; empty of any other task.
	Undoes ID
}

// Due is the time by which the task takes its place in a queue: At, or the time of the
// push where no execution time was given.
func (t *Task) Due() time.Time {
	if t.At.IsZero() {
		return t.PushedAt
	}
	return t.At
}

// Validate reports the first reason why the task cannot be pushed; errors about size
// wrap ErrTooLarge.
func (t *Task) Validate() error { return t.validate(false) }

// validate is Validate; with checked the parameters are known to be an object.
func (t *Task) validate(checked bool) error {
	if err := t.ID.Validate(); err != nil {
		return err
	}
	if err := ValidateType(t.Type); err != nil {
		return err
	}
	if len(t.Params) > MaxParamsBytes {
		return fmt.Errorf("parameters of task %s are %d bytes, at most %d are allowed: %w; put large data elsewhere and pass its address",
			t.ID, len(t.Params), MaxParamsBytes, ErrTooLarge)
	}
	if len(t.Params) > 0 && !checked && objectEnd(t.Params) != len(t.Params) {
		if !json.Valid(t.Params) {
			return fmt.Errorf("parameters of task %s are not valid JSON", t.ID)
		}
		if p := bytes.TrimLeft(t.Params, " \t\r\n"); p[0] != '{' {
			return fmt.Errorf("parameters of task %s are not a JSON object", t.ID)
		}
	}
	if t.Undoes != "" {
		if err := t.Undoes.Validate(); err != nil {
			return fmt.Errorf("task %s undoes another: %w", t.ID, err)
		}
	}
	if t.MaxAttempts < 0 || t.MaxAttempts > MostAttempts {
		return fmt.Errorf("max_attempts of task %s is %d; it can be 1 to %d, or 0 for the default", t.ID, t.MaxAttempts, MostAttempts)
	}
	if t.TimeLimit < 0 && t.TimeLimit != NoTimeLimit {
		return fmt.Errorf("time limit of task %s is negative (%v)", t.ID, t.TimeLimit)
	}
	return nil
}

// ValidateType reports why s cannot be a task type: it is empty, longer than
// MaxTypeBytes, or holds something else than letters, digits, dots, underscores and
// dashes.
func ValidateType(s string) error {
	if s == "" {
		return errors.New("task type is empty")
	}
	if len(s) > MaxTypeBytes {
		return fmt.Errorf("task type is %d bytes long, at most %d are allowed", len(s), MaxTypeBytes)
	}
	for i := range len(s) {
		c := s[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
		if !ok {
			return fmt.Errorf("task type %q has a character other than letters, digits, dots, underscores and dashes", s)
		}
	}
	return nil
}
