package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/backplane/leptir/task"
)

// maxParamsInput is the most of a file or of stdin that is read for parameters: what may
// become task.MaxParamsBytes without its white space.
const maxParamsInput = 8 * task.MaxParamsBytes

// param is one -p.
type param struct {
	name  string
	value json.RawMessage
	text  string // as it was given
}

// params is a flag that can be given several times.
type params []param

// Set implements pflag.Value. A value that is JSON is taken as such, any other as a text.
func (p *params) Set(s string) error {
	name, text, ok := strings.Cut(s, "=")
	switch {
	case !ok:
		return fmt.Errorf("must be name=value, not %q", shorten(s))
	case name == "":
		return fmt.Errorf("must be name=value, the name is missing in %q", shorten(s))
	case !utf8.ValidString(s):
		return fmt.Errorf("%s: the value is not valid UTF-8", shorten(sentence(name)))
	}
	value := json.RawMessage(text)
	if !json.Valid(value) {
		var err error
		if value, err = marshal(text); err != nil {
			return fmt.Errorf("%s: %w", shorten(name), err)
		}
	}
	*p = append(*p, param{name, value, text})
	return nil
}

// String implements pflag.Value.
func (p *params) String() string { return "" }

// Type implements pflag.Value.
func (p *params) Type() string { return "NAME=VALUE" }

// addParams adds the flags that say what parameters a task gets: single ones, and source,
// from which readParams makes them.
func addParams(flags *pflag.FlagSet, single *params, source *string) {
	flags.Var(single, "p", "a parameter: a value that is JSON (a number, true, null, a list, …) is taken as such, any other as a text; can be given many times")
	flags.Var(newValue(source, "JSON", nonEmpty), "params", "the parameters as a JSON object, or @FILE, or - for stdin; those of -p win over it")
}

// readParams makes the parameters of a task: the object that source says, the single ones
// over it. Source is JSON, @FILE, or - for stdin.
func (p *program) readParams(ctx context.Context, source string, single params) (json.RawMessage, error) {
	object := map[string]json.RawMessage{}
	if source != "" {
		text, err := p.readSource(ctx, source)
		if err != nil {
			return nil, err
		}
		if err := parseObject(text, &object); err != nil {
			return nil, usagef("-params%s %v", from(source), err)
		}
	}
	for _, s := range single {
		object[s.name] = s.value
	}
	if len(object) == 0 {
		return nil, nil
	}
	text, err := marshal(object)
	if err != nil {
		return nil, usagef("the parameters cannot be written as JSON: %v", err)
	}
	if len(text) > task.MaxParamsBytes {
		return nil, usagef("the parameters are too large: %d bytes, at most %d are allowed; put large data elsewhere and pass its address",
			len(text), task.MaxParamsBytes)
	}
	return text, nil
}

// asTexts makes a text of each single parameter that its plugin wants to be one, for
// example of the digits of a phone number.
func (single params) asTexts(object json.RawMessage, wantsText func(name string) bool) (json.RawMessage, error) {
	var values map[string]json.RawMessage
	for _, s := range single {
		if s.value[0] == '"' || string(s.value) == "null" || !wantsText(s.name) {
			continue
		}
		if values == nil {
			if err := json.Unmarshal(object, &values); err != nil {
				return nil, err
			}
		}
		text, err := marshal(s.text)
		if err != nil {
			return nil, err
		}
		values[s.name] = text
	}
	if values == nil {
		return object, nil
	}
	return marshal(values)
}

// from says in a message where parameters came from.
func from(source string) string {
	switch {
	case source == "-":
		return " from stdin"
	case strings.HasPrefix(source, "@"):
		return " from " + shorten(source[1:])
	}
	return ""
}

// readSource returns the text that a source stands for.
func (p *program) readSource(ctx context.Context, source string) (text []byte, err error) {
	switch {
	case source == "-":
		text, err = readUntil(ctx, p.stdin)
	case strings.HasPrefix(source, "@"):
		file, openErr := os.Open(source[1:])
		if openErr != nil {
			return nil, usagef("-params: %v", openErr)
		}
		defer file.Close()
		text, err = readUntil(ctx, file)
	default:
		return []byte(source), nil
	}
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("interrupted while reading -params%s", from(source))
	case err != nil:
		return nil, usagef("-params%s: %v", from(source), err)
	case len(text) > maxParamsInput:
		return nil, usagef("-params%s is too large: more than %d bytes, at most %d are allowed; put large data elsewhere and pass its address",
			from(source), maxParamsInput, task.MaxParamsBytes)
	}
	return text, nil
}

// readUntil reads what maxParamsInput allows and one byte more. When ctx ends it returns,
// and leaves the reading to itself: a terminal or pipe that nobody writes to cannot be
// made to return, and the program ends then.
func readUntil(ctx context.Context, r io.Reader) ([]byte, error) {
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := io.ReadAll(io.LimitReader(r, maxParamsInput+1))
		done <- result{text, err}
	}()
	select {
	case got := <-done:
		return got.text, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// parseObject reads a JSON object. Its errors read after what the text is.
func parseObject(text []byte, object *map[string]json.RawMessage) error {
	text = bytes.TrimSpace(text)
	switch {
	case len(text) == 0:
		return errors.New("must be a JSON object; there is nothing")
	case !utf8.Valid(text):
		return errors.New("must be a JSON object; it is not valid UTF-8")
	}
	var any json.RawMessage
	if err := json.Unmarshal(text, &any); err != nil {
		where := ""
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			where = fmt.Sprintf(" at byte %d", e.Offset)
		}
		return fmt.Errorf("must be a JSON object: %w%s", err, where)
	}
	if text[0] != '{' {
		return fmt.Errorf("must be a JSON object, not %s", shorten(string(text)))
	}
	return json.Unmarshal(text, object)
}

// marshal writes a value as JSON, without escaping what need not be escaped.
func marshal(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}
