package task

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// original is a task as the PHP leptir wrote it. Numbers are RawMessages because PHP
// producers write them as numbers, as numeric strings, or as "" or null for none.
type original struct {
	Version   json.RawMessage `json:"v"` // of today's envelope; the original had none
	Class     *string         `json:"cn"`
	Priority  json.RawMessage `json:"pr"`
	TimeLimit json.RawMessage `json:"tl"`   // seconds; 0: the host's default
	Execution json.RawMessage `json:"toex"` // unix seconds; none: at once
	Data      struct {
		ID         json.RawMessage `json:"id"`
		Parameters json.RawMessage `json:"parameters"`
	} `json:"td"`
}

// lastSecond is 9999-12-31T23:59:59Z, the last time that RFC 3339 can write.
const lastSecond = 253402300799

// DecodeAny reads a task from today's envelope, as Decode does, or from the JSON of the
// original leptir, which producers may still write:
//
//	{"cn":CLASS, "pr":PRIORITY, "tl":SECONDS, "toex":UNIX SECONDS or "",
//	 "td":{"id":ID, "parameters":{…}}}
//
// CLASS becomes the task's type as TypeOfClass says. PHP writes an array with the keys 0,
// 1, 2, … as a JSON list (an empty one as []): such parameters become an object with the
// keys "0", "1", "2", …. PushedAt stays zero, as the original did not write it. The result
// is valid; its parameters may be a part of b, which must not be changed afterwards.
func DecodeAny(b []byte, aliases map[string]string) (Task, error) {
	t, err := Decode(b)
	if err == nil || errors.Is(err, ErrTooLarge) {
		return t, err
	}
	var o original
	if json.Unmarshal(b, &o) != nil {
		// Only a message with a class name is the original's; of any other the first
		// error says more.
		var class struct {
			Version json.RawMessage `json:"v"`
			Class   json.RawMessage `json:"cn"`
		}
		if json.Unmarshal(b, &class) == nil && class.Version == nil && class.Class != nil {
			return Task{}, fmt.Errorf("decode task in the original's format: %w", json.Unmarshal(b, &o))
		}
		return Task{}, err
	}
	if o.Version != nil || o.Class == nil {
		return Task{}, err
	}
	t, err = o.task(aliases)
	if err != nil {
		return Task{}, fmt.Errorf("decode task in the original's format: %w", err)
	}
	return t, nil
}

// TypeOfClass returns the task type for the class name of a PHP task: the one that aliases
// has for it (with or without a leading backslash), else the name in lower case with dots
// for its backslashes, so that `\Leptir\Task\Test\TestTask` is "leptir.task.test.testtask".
func TypeOfClass(class string, aliases map[string]string) string {
	bare := strings.TrimLeft(class, `\`)
	for _, name := range []string{class, bare, `\` + bare} {
		if t, ok := aliases[name]; ok {
			return t
		}
	}
	return strings.ToLower(strings.TrimLeft(strings.ReplaceAll(bare, `\`, "."), "."))
}

func (o *original) task(aliases map[string]string) (Task, error) {
	t := Task{Type: TypeOfClass(*o.Class, aliases)}
	id, err := scalar(o.Data.ID)
	if err != nil {
		return Task{}, fmt.Errorf("td.id: %w", err)
	}
	t.ID = ID(id)
	priority, err := number(o.Priority)
	switch {
	case err != nil:
		return Task{}, fmt.Errorf("pr (priority): %w", err)
	case priority != math.Trunc(priority) || math.Abs(priority) > math.MaxInt32:
		return Task{}, fmt.Errorf("pr (priority): %v is not a whole number of 32 bits", priority)
	}
	t.Priority = int(priority)
	limit, err := number(o.TimeLimit)
	if err != nil {
		return Task{}, fmt.Errorf("tl (time limit): %w", err)
	}
	if t.TimeLimit, err = limitFromSeconds(limit); err != nil {
		return Task{}, err
	}
	at, err := number(o.Execution)
	switch {
	case err != nil:
		return Task{}, fmt.Errorf("toex (time of execution): %w", err)
	case at > lastSecond:
		return Task{}, fmt.Errorf("toex (time of execution): %v is after the year 9999", at)
	case at > 0:
		sec, frac := math.Modf(at)
		t.At = time.Unix(int64(sec), int64(frac*1e9)).UTC()
	}
	if t.Params, err = phpObject(o.Data.Parameters); err != nil {
		return Task{}, fmt.Errorf("td.parameters: %w", err)
	}
	return t, t.Validate()
}

// scalar returns the text of a JSON string or number.
func scalar(raw json.RawMessage) (string, error) {
	if len(raw) == 0 {
		return "", errors.New("missing")
	}
	if c := raw[0]; c == '-' || c >= '0' && c <= '9' {
		return string(raw), nil
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", errors.New("neither a string nor a number")
	}
	return *s, nil
}

// number reads a number as PHP producers write it: a number, a numeric string, or nothing,
// null or "" for 0.
func number(raw json.RawMessage) (float64, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return 0, nil
	}
	s, err := scalar(raw)
	if err != nil {
		return 0, err
	}
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.Trim(s, "+-.0123456789eE") != "" { // ParseFloat also takes "inf", "0x1p2"
		if len(s) > 40 {
			s = s[:40] + "…"
		}
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return f, nil
}

// phpObject returns a PHP array as a JSON object, and nil for an empty one.
func phpObject(raw json.RawMessage) (json.RawMessage, error) {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil, nil
	case raw[0] == '{':
		return bytes.Clone(raw), nil
	case raw[0] != '[':
		return nil, errors.New("not an object")
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, nil
	}
	out := []byte{'{'}
	for i, v := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendQuote(out, strconv.Itoa(i))
		out = append(out, ':')
		out = append(out, v...)
	}
	return append(out, '}'), nil
}
