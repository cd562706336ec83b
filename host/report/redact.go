package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// What a report may hold at most, in bytes, and where it is nested.
const (
	maxMessage = 16 << 10
	maxStack   = 64 << 10
	// maxObject bounds parameters and data, each, as they are shown; maxParsed as they
	// come: what is larger is not even looked at.
	maxObject = 16 << 10
	maxParsed = 1 << 20
	maxText   = 1 << 10 // a text inside
	maxDepth  = 16
	// maxOutput bounds the last lines of a process, together.
	maxOutput = 16 << 10
)

// redacted stands for a value that is not shown, leftOut for one that does not fit.
const (
	redacted = "[redacted]"
	leftOut  = "[left out]"
)

// DefaultRedact are words that hide a value whose key has one of them in it, however the
// key is written: "password" hides dbPassword, DB-PASSWORD and old_password_2.
var DefaultRedact = []string{
	"password", "passwd", "passphrase", "pwd", "secret", "token", "authorization", "api_key", "access_key",
	"private_key", "credential", "cookie", "session_id", "credit_card", "card_number", "cvv",
}

// redactor takes out of reports what must not be shown, and what is too large to be.
type redactor struct {
	words      []string
	parameters bool // show them at all
}

func newRedactor(parameters bool, more []string) *redactor {
	r := &redactor{parameters: parameters}
	for _, word := range slices.Concat(DefaultRedact, more) {
		if word = plainKey(word); word != "" {
			r.words = append(r.words, word)
		}
	}
	return r
}

// plainKey returns a key as it is compared: small letters and digits only.
func plainKey(key string) string {
	return strings.Map(func(c rune) rune {
		switch c {
		case '_', '-', '.', ' ':
			return -1
		}
		return c
	}, strings.ToLower(key))
}

func (r *redactor) hides(key string) bool {
	key = plainKey(key)
	return slices.ContainsFunc(r.words, func(word string) bool { return strings.Contains(key, word) })
}

// report returns the report as it may be shown. What it points to is not changed, since
// others have it too.
func (r *redactor) report(in Report) Report {
	in.Message = cut(in.Message, maxMessage)
	in.Stack = cut(in.Stack, maxStack)
	in.Data = r.object(in.Data)
	if in.Task != nil {
		t := *in.Task
		if t.Params = r.object(t.Params); !r.parameters {
			t.Params = nil
		}
		in.Task = &t
	}
	if in.Exit != nil {
		e := *in.Exit
		e.Stderr = lastLines(e.Stderr, maxOutput)
		in.Exit = &e
	}
	return in
}

// object returns a JSON object as it may be shown; nil for an empty one. What is no JSON
// object gives an object that says so.
func (r *redactor) object(raw json.RawMessage) json.RawMessage {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "{}" || string(raw) == "null" {
		return nil
	}
	note := func(format string, args ...any) json.RawMessage {
		b, _ := json.Marshal(map[string]string{leftOut: fmt.Sprintf(format, args...)}) // texts always can be
		return b
	}
	if len(raw) > maxParsed {
		return note("%d bytes, at most %d are looked at", len(raw), maxParsed)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // large numbers keep their digits
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return note("%d bytes that are no JSON object", len(raw))
	}
	if _, err := d.Token(); err != io.EOF {
		return note("%d bytes that are no JSON object", len(raw))
	}
	w := &objectWriter{redactor: r, room: maxObject}
	b, err := json.Marshal(w.value(object, 0))
	if err != nil {
		return note("%d bytes that cannot be written: %v", len(raw), err)
	}
	return b
}

// objectWriter copies a decoded JSON value as far as it may be shown.
type objectWriter struct {
	*redactor
	room int // bytes left, about
}

// value returns what is shown of v.
func (w *objectWriter) value(v any, depth int) any {
	switch v := v.(type) {
	case string:
		s := cut(v, maxText)
		w.room -= len(s) + 3
		return s
	case json.Number:
		if len(v) > maxText { // hostile, but JSON
			return leftOut
		}
		w.room -= len(v) + 1
		return v
	case []any:
		if depth >= maxDepth {
			return leftOut
		}
		list := make([]any, 0, min(len(v), 64))
		for i, element := range v {
			if w.room <= 0 {
				list = append(list, fmt.Sprintf("%s: %d more", leftOut, len(v)-i))
				break
			}
			list = append(list, w.value(element, depth+1))
		}
		return list
	case map[string]any:
		if depth >= maxDepth {
			return leftOut
		}
		object := map[string]any{}
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if w.room <= 0 {
				object[leftOut] = fmt.Sprintf("%d more", len(v)-i)
				break
			}
			shown := cut(key, maxText)
			w.room -= len(shown) + 4
			if w.hides(key) {
				object[shown] = redacted
				w.room -= len(redacted)
				continue
			}
			object[shown] = w.value(v[key], depth+1)
		}
		return object
	}
	w.room -= 5
	return v // true, false, null
}

// cut returns s as valid UTF-8 of about n bytes at most; what is missing is said at its end.
func cut(s string, n int) string {
	if len(s) > n {
		end := n
		for end > 0 && !utf8.RuneStart(s[end]) && end > n-utf8.UTFMax {
			end--
		}
		s = fmt.Sprintf("%s… (%d bytes left out)", s[:end], len(s)-end)
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// lastLines returns the last of the lines that take n bytes at most together.
func lastLines(lines []string, n int) []string {
	from := len(lines)
	for from > 0 && n > len(lines[from-1]) {
		from--
		n -= len(lines[from]) + 1
	}
	kept := slices.Clone(lines[from:])
	for i := range kept {
		kept[i] = strings.ToValidUTF8(kept[i], "\uFFFD")
	}
	return kept
}
