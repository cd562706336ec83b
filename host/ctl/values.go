package ctl

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/backplane/leptir/task"
)

// value is a flag that takes a text. Errors of parse read after the flag's name ("must be
// a whole number").
type value[T any] struct {
	to    *T
	kind  string
	parse func(string) (T, error)
	text  string
}

// newValue returns a flag whose text goes to to; kind stands for the text in the help.
func newValue[T any](to *T, kind string, parse func(string) (T, error)) pflag.Value {
	return &value[T]{to: to, kind: kind, parse: parse}
}

// Set implements pflag.Value.
func (v *value[T]) Set(s string) (err error) {
	*v.to, err = v.parse(s)
	v.text = s
	return err
}

// String implements pflag.Value.
func (v *value[T]) String() string { return v.text }

// Type implements pflag.Value.
func (v *value[T]) Type() string { return v.kind }

func nonEmpty(s string) (string, error) {
	if s == "" {
		return "", errors.New("must not be empty")
	}
	return s, nil
}

func wholeNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("is out of range: %s", shorten(s))
	case err != nil:
		return 0, fmt.Errorf("must be a whole number, not %q", shorten(s))
	}
	return n, nil
}

// between returns a parser of whole numbers within limits.
func between(low, high int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := wholeNumber(s)
		if err == nil && (n < low || n > high) {
			err = fmt.Errorf("must be between %d and %d, not %d", low, high, n)
		}
		return n, err
	}
}

// maxSeconds is the longest time that a duration flag can say, about a hundred years: far
// from where times and durations overflow.
const maxSeconds = 100 * 366 * 24 * 3600

// duration reads "1m30s" or a number of seconds. It is never negative, and 0 only where
// the text says so.
func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		seconds, err := strconv.ParseFloat(s, 64)
		switch {
		case err != nil || math.IsNaN(seconds) || math.IsInf(seconds, 0):
			return 0, fmt.Errorf("must be a number of seconds or a text like 1m30s, not %q", shorten(s))
		case math.Abs(seconds) > maxSeconds:
			return 0, fmt.Errorf("is too long: %s", shorten(s))
		}
		d = time.Duration(seconds * float64(time.Second))
		if d == 0 && seconds > 0 {
			d = 1
		}
		if d == 0 && seconds < 0 {
			d = -1
		}
	}
	switch {
	case d < 0:
		return 0, fmt.Errorf("must not be negative: %s", shorten(s))
	case d > maxSeconds*time.Second:
		return 0, fmt.Errorf("is too long: %s", shorten(s))
	}
	return d, nil
}

// timeLimit reads a task's time limit: a duration, or "none".
func timeLimit(s string) (time.Duration, error) {
	if s == "none" {
		return task.NoTimeLimit, nil
	}
	d, err := duration(s)
	if err != nil && !strings.HasPrefix(err.Error(), "is too") {
		err = fmt.Errorf(`%w; "none" is no limit`, err)
	}
	return d, err
}

// lastSecond is 9999-12-31T23:59:59Z, the last time that RFC 3339 can write.
const lastSecond = 253402300799

// localLayouts are the forms of a time without a zone, which is local.
var localLayouts = []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04"}

// moment reads a point in time: RFC 3339, a local date and time, or unix seconds.
func moment(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return inRange(t, s)
	}
	for _, layout := range localLayouts {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return inRange(t, s)
		}
	}
	seconds, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		return time.Time{}, fmt.Errorf(`must be a time like 2006-01-02T15:04:05Z, "2006-01-02 15:04" (local time) or unix seconds, not %q`, shorten(s))
	}
	if math.Abs(seconds) > lastSecond {
		return time.Time{}, fmt.Errorf("is out of range: %s", shorten(s))
	}
	whole, fraction := math.Modf(seconds)
	return inRange(time.Unix(int64(whole), int64(fraction*1e9)), s)
}

func inRange(t time.Time, s string) (time.Time, error) {
	if t = t.UTC(); t.Unix() > lastSecond || t.Year() < 1 {
		return time.Time{}, fmt.Errorf("is out of range: %s", shorten(s))
	}
	return t, nil
}
