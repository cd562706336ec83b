package task

import (
	"bytes"
	"strconv"
	"time"
)

// decodeOwn reads an envelope of exactly the form that Encode writes, several times faster
// than package json does. It reports false for whatever else, valid or not.
func decodeOwn(b []byte) (t Task, ok bool) {
	s := scan{rest: b}
	s.expect(`{"v":1,"id":"`)
	t.ID = ID(s.text())
	s.expect(`,"type":"`)
	t.Type = string(s.text())
	if s.skip(`,"params":`) {
		t.Params = bytes.Clone(s.object())
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
	if s.failed || len(s.rest) > 0 || t.Validate() != nil {
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

// object takes an object off, by its braces: whether it is valid JSON is left to be checked.
func (s *scan) object() []byte {
	depth, quoted := 0, false
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			depth++
		case c == '}':
			depth--
			if depth == 0 {
				return s.take(i + 1)
			}
		}
		if depth == 0 {
			break // no object
		}
	}
	s.failed = true
	return nil
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
