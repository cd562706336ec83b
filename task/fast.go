package task

import (
	"bytes"
	"strconv"
	"time"
)

// encodeOwn writes what Encode does, as long as json would write it just like that; else it
// reports false.
func encodeOwn(t *Task) ([]byte, bool) {
	if !isPlain(string(t.ID)) || !isPlain(t.Type) || !isPlain(string(t.Undoes)) || len(t.Params) > 0 && objectEnd(t.Params) != len(t.Params) {
		return nil, false
	}
	w := objectWriter{b: make([]byte, 0, len(t.Params)+len(t.ID)+len(t.Type)+len(t.Undoes)+192)}
	w.begin()
	w.number("v", envelopeVersion)
	w.text("id", string(t.ID))
	w.text("type", t.Type)
	if len(t.Params) > 0 {
		w.name("params")
		w.b = append(w.b, t.Params...)
	}
	w.someNumber("priority", t.Priority)
	if t.TimeLimit == NoTimeLimit {
		w.number("time_limit", -1)
	} else if t.TimeLimit != 0 {
		w.float("time_limit", t.TimeLimit.Seconds())
	}
	w.someTime("at", t.At.UTC())
	w.someTime("pushed_at", t.PushedAt.UTC())
	w.someText("undoes", string(t.Undoes))
	w.someNumber("max_attempts", t.MaxAttempts)
	w.end()
	return w.b, w.err == nil
}

// decodeOwn reads an envelope of exactly the form that Encode writes, several times faster
// than package json does. It reports false for whatever else, valid or not.
func decodeOwn(b []byte) (t Task, ok bool) {
	s := scan{rest: b}
	s.expect(`{"v":1,"id":"`)
	t.ID = ID(s.text())
	s.expect(`,"type":"`)
	t.Type = string(s.text())
	if s.skip(`,"params":`) {
		params := s.object()
		t.Params = params[:len(params):len(params)]
	}
	if s.skip(`,"priority":`) {
		n, err := strconv.Atoi(string(s.number()))
		s.failed = s.failed || err != nil
		t.Priority = n
	}
	if s.skip(`,"time_limit":`) {
		f, err := strconv.ParseFloat(string(s.number()), 64)
		if err == nil {
			t.TimeLimit, err = limitFromSeconds(f)
		}
		s.failed = s.failed || err != nil
	}
	if s.skip(`,"at":"`) {
		t.At = s.time()
	}
	if s.skip(`,"pushed_at":"`) {
		t.PushedAt = s.time()
	}
	if s.skip(`,"undoes":"`) {
		t.Undoes = ID(s.text())
	}
	if s.skip(`,"max_attempts":`) {
		n, err := strconv.Atoi(string(s.number()))
		s.failed = s.failed || err != nil
		t.MaxAttempts = n
	}
	s.expect(`}`)
	if s.failed || len(s.rest) > 0 || t.validate(true) != nil {
		return Task{}, false
	}
	return t, true
}

// scan takes one part after the other off the front of rest. After a failure the other
// methods return nothing of use.
type scan struct {
	rest   []byte
	failed bool
}

// skip takes a text off if it comes next.
func (s *scan) skip(text string) bool {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

func (s *scan) expect(text string) { s.failed = !s.skip(text) || s.failed }

// take takes n bytes off.
func (s *scan) take(n int) []byte {
	out := s.rest[:n]
	s.rest = s.rest[n:]
	return out
}

// text takes the rest of a string of plain ASCII off, and its closing quote.
func (s *scan) text() []byte {
	for i, c := range s.rest {
		switch {
		case c == '"':
			out := s.take(i + 1)
			return out[:i]
		case c == '\\' || c < ' ' || c > '~':
			s.failed = true
			return nil
		}
	}
	s.failed = true
	return nil
}

// object takes a valid object off.
func (s *scan) object() []byte {
	n := objectEnd(s.rest)
	s.failed = s.failed || n == 0
	return s.take(n)
}

// number takes a number off that is written without an exponent and without needless zeros.
func (s *scan) number() []byte {
	n := 0
	for n < len(s.rest) && (s.rest[n] == '-' || s.rest[n] == '.' || s.rest[n] >= '0' && s.rest[n] <= '9') {
		n++
	}
	out := s.take(n)
	digits := bytes.TrimPrefix(out, []byte("-"))
	if len(digits) == 0 || digits[0] == '.' || digits[len(digits)-1] == '.' || digits[0] == '0' && len(digits) > 1 && digits[1] != '.' {
		s.failed = true
	}
	return out
}

// time takes the rest of a string off that is a time, and its closing quote.
func (s *scan) time() time.Time {
	var t time.Time
	if t.UnmarshalText(s.text()) != nil {
		s.failed = true
	}
	return t.UTC()
}
