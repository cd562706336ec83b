package config

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/zclconf/go-cty/cty"
)

// setScalar puts a value of the file into dst, whose form is f's and not a list, map or
// block. Its errors read after the attribute's name ("must be …") and do not show the
// value of a secret.
func setScalar(dst reflect.Value, val cty.Value, f field) error {
	switch f.form {
	case formText, formPath, formSecret:
		s, err := text(val, f)
		if err != nil {
			return err
		}
		dst.SetString(s)
		return nil
	case formBool:
		b, err := boolean(val)
		if err != nil {
			return err
		}
		dst.SetBool(b)
		return nil
	case formFloat:
		n, err := number(val, "a number")
		if err != nil {
			return err
		}
		if err := inRange(n, f, parseFloat, formatFloat); err != nil {
			return err
		}
		dst.SetFloat(n)
		return nil
	}
	read, parse, format := integer, parseInt, formatInt
	switch f.form {
	case formDuration:
		read, parse, format = duration, parseDuration, formatDuration
	case formBytes:
		read, parse, format = amount, parseBytes, formatBytes
	}
	n, err := read(val)
	if err != nil {
		return err
	}
	if err := inRange(n, f, parse, format); err != nil {
		return err
	}
	if dst.OverflowInt(n) {
		return fmt.Errorf("is out of range: %d", n)
	}
	dst.SetInt(n)
	return nil
}

// text reads a text that f allows.
func text(val cty.Value, f field) (string, error) {
	if val.Type() != cty.String {
		return "", fmt.Errorf("must be a %s, not %s", f.form, typeName(val))
	}
	s := val.AsString()
	switch {
	case s == "" && f.required:
		return "", errors.New("must not be empty")
	case f.form == formPath && strings.ContainsRune(s, 0):
		return "", errors.New("must not have a zero byte")
	case f.oneOf == nil || slices.Contains(f.oneOf, s):
		return s, nil
	}
	hint := ""
	if near := suggest(s, f.oneOf); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	return "", fmt.Errorf("must be one of %s, not %q%s", quotedList(f.oneOf), short(s), hint)
}

// boolean reads true or false, or those words as a text (env gives texts).
func boolean(val cty.Value) (bool, error) {
	switch val.Type() {
	case cty.Bool:
		return val.True(), nil
	case cty.String:
		switch val.AsString() {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return false, fmt.Errorf("must be true or false, not %q", short(val.AsString()))
	}
	return false, fmt.Errorf("must be true or false, not %s", typeName(val))
}

// number reads a number, or a number in a text (env gives texts). what says what the
// attribute expects.
func number(val cty.Value, what string) (float64, error) {
	switch val.Type() {
	case cty.Number:
		n, _ := val.AsBigFloat().Float64()
		if math.IsInf(n, 0) {
			return 0, errors.New("is out of range")
		}
		return n, nil
	case cty.String:
		n, err := parseFloat(val.AsString())
		if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
			return 0, fmt.Errorf("must be %s, not %q", what, short(val.AsString()))
		}
		return n, nil
	}
	return 0, fmt.Errorf("must be %s, not %s", what, typeName(val))
}

// integer reads a whole number, or one in a text.
func integer(val cty.Value) (int64, error) {
	switch val.Type() {
	case cty.Number:
		n := val.AsBigFloat()
		if !n.IsInt() {
			return 0, fmt.Errorf("must be a whole number, not %s", n.Text('g', 10))
		}
		i, accuracy := n.Int64()
		if accuracy != big.Exact {
			return 0, fmt.Errorf("is out of range: %s", n.Text('g', 10))
		}
		return i, nil
	case cty.String:
		n, err := parseInt(val.AsString())
		if err != nil {
			return 0, fmt.Errorf("must be a whole number, not %q", short(val.AsString()))
		}
		return n, nil
	}
	return 0, fmt.Errorf("must be a whole number, not %s", typeName(val))
}

const durationForms = `a number of seconds or a text like "1m30s"`

// duration reads a time.Duration: a number of seconds, or a text that is one or that
// time.ParseDuration understands.
func duration(val cty.Value) (int64, error) {
	if val.Type() == cty.String {
		s := val.AsString()
		if d, err := time.ParseDuration(s); err == nil {
			if d < 0 {
				return 0, fmt.Errorf("must not be negative: %q", short(s))
			}
			return int64(d), nil
		}
	}
	seconds, err := number(val, durationForms)
	if err != nil {
		return 0, err
	}
	if seconds < 0 {
		return 0, fmt.Errorf("must not be negative: %s", formatFloat(seconds))
	}
	if seconds >= math.MaxInt64/float64(time.Second) {
		return 0, fmt.Errorf("is out of range: %s seconds", formatFloat(seconds))
	}
	return int64(math.Round(seconds * float64(time.Second))), nil
}

// amount reads an amount of bytes: a whole number, or a text like "256MiB".
func amount(val cty.Value) (int64, error) {
	if val.Type() == cty.String {
		n, err := parseBytes(val.AsString())
		if err != nil {
			return 0, fmt.Errorf(`must be a number of bytes or a text like "256MiB", not %q`, short(val.AsString()))
		}
		return n, nil
	}
	n, err := integer(val)
	if err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, fmt.Errorf("must not be negative: %d", n)
	}
	return n, nil
}

// element reads an element of a list or map of texts. Numbers and true or false are taken
// as they would be written: such maps are environments, such lists arguments.
func element(val cty.Value) (string, error) {
	switch {
	case val.IsNull():
		return "", errors.New("must be a text, not null")
	case val.Type() == cty.String:
		return val.AsString(), nil
	case val.Type() == cty.Bool:
		return strconv.FormatBool(val.True()), nil
	case val.Type() == cty.Number:
		n := val.AsBigFloat()
		if i, accuracy := n.Int64(); n.IsInt() && accuracy == big.Exact {
			return strconv.FormatInt(i, 10), nil
		}
		return n.Text('g', 17), nil
	}
	return "", fmt.Errorf("must be a text, not %s", typeName(val))
}

// inRange checks n against the limits that f's tags set. A limit that cannot be read is
// a mistake in the program and shows as an error wherever the attribute is used.
func inRange[N int64 | float64](n N, f field, parse func(string) (N, error), format func(N) string) error {
	var low, high N
	var err error
	if f.min != "" {
		if low, err = parse(f.min); err != nil {
			return fmt.Errorf("has a broken lower limit: %w", err)
		}
	}
	if f.max != "" {
		if high, err = parse(f.max); err != nil {
			return fmt.Errorf("has a broken upper limit: %w", err)
		}
	}
	below, above := f.min != "" && n < low, f.max != "" && n > high
	switch {
	case !below && !above:
		return nil
	case f.min != "" && f.max != "":
		return fmt.Errorf("must be between %s and %s, not %s", format(low), format(high), format(n))
	case below:
		return fmt.Errorf("must be at least %s, not %s", format(low), format(n))
	}
	return fmt.Errorf("must be at most %s, not %s", format(high), format(n))
}

// typeName names the type of a value with its article.
func typeName(val cty.Value) string {
	t := val.Type()
	switch {
	case val.IsNull():
		return "null"
	case t == cty.String:
		return "a text"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t.IsTupleType() || t.IsListType() || t.IsSetType():
		return "a list"
	case t.IsObjectType() || t.IsMapType():
		return "a map"
	}
	return "a value of another type"
}

func parseInt(s string) (int64, error)     { return strconv.ParseInt(strings.TrimSpace(s), 10, 64) }
func parseFloat(s string) (float64, error) { return strconv.ParseFloat(strings.TrimSpace(s), 64) }

// parseDuration reads a limit: as in a file, a number of seconds or a text like "1m30s".
func parseDuration(s string) (int64, error) { return duration(cty.StringVal(s)) }

func parseBytes(s string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err == nil && n > math.MaxInt64 {
		err = strconv.ErrRange
	}
	return int64(n), err
}

func formatInt(n int64) string     { return strconv.FormatInt(n, 10) }
func formatFloat(n float64) string { return strconv.FormatFloat(n, 'g', -1, 64) }

// formatDuration writes a duration as time.ParseDuration reads it, without parts that
// are 0 at its end.
func formatDuration(n int64) string {
	if n == 0 {
		return "0"
	}
	s := time.Duration(n).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// formatBytes writes an amount of bytes in the largest unit that leaves no rest.
func formatBytes(n int64) string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return strconv.FormatInt(n, 10) + units[i]
}
