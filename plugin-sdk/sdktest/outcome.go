package sdktest

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

// T is what is used of a *testing.T.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// An Outcome is how a task ended. Its Want methods are assertions: what they do not find
// fails the test, which goes on. They return the Outcome, to be chained. It is not safe
// for concurrent use.
type Outcome struct {
	sdk.Outcome
	// Output is what a binary printed to stdout and stderr, the last MaxOutputBytes of it.
	Output string

	t    T
	what string // was run
	told bool   // the test has been shown the outcome
}

// errorf fails the test; the first time, with all there is to know of the outcome.
func (o *Outcome) errorf(format string, args ...any) {
	o.t.Helper()
	message := o.what + ": " + fmt.Sprintf(format, args...)
	if !o.told {
		o.told = true
		message += "\n" + o.summary()
	}
	o.t.Errorf("%s", message)
}

// summary tells people how the task ended.
func (o *Outcome) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  it ended with %v after %v, response %q\n", o.Code, o.Duration, o.Response)
	if f := o.Failure; f != nil {
		fmt.Fprintf(&b, "  failure (%s): %s\n", f.Kind, f.Message)
		if f.Stack != "" {
			b.WriteString(indent(f.Stack))
		}
	}
	for _, f := range o.Also {
		fmt.Fprintf(&b, "  failure beside it (%s): %s\n", f.Kind, f.Message)
	}
	for _, l := range o.Logs {
		fmt.Fprintf(&b, "  log: %v %s %v\n", l.Level, l.Message, l.Attrs)
	}
	if o.Output != "" {
		b.WriteString("  it printed:\n" + indent(o.Output))
	}
	return b.String()
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ") + "\n"
}

// WantSuccess wants the return code Success, and no failure, not even one that did not
// decide how the task ended.
func (o *Outcome) WantSuccess() *Outcome {
	o.t.Helper()
	if o.Code != sdk.Success || o.Failure != nil || len(o.Also) > 0 {
		o.errorf("it has not succeeded")
	}
	return o
}

// WantCode wants the return code.
func (o *Outcome) WantCode(want sdk.ReturnCode) *Outcome {
	o.t.Helper()
	if o.Code != want {
		o.errorf("return code is %v, want %v", o.Code, want)
	}
	return o
}

// WantFailure wants the task to have failed with a message that contains text. A kind is
// that of sdk.Failure, or "crash" of a binary; empty: any.
func (o *Outcome) WantFailure(kind, text string) *Outcome {
	o.t.Helper()
	switch {
	case o.Failure == nil:
		o.errorf("it has not failed, want a failure with %q", text)
	case kind != "" && o.Failure.Kind != kind:
		o.errorf("failure is of kind %q, want %q", o.Failure.Kind, kind)
	case !strings.Contains(o.Failure.Message, text):
		o.errorf("failure is %q, want one with %q", o.Failure.Message, text)
	}
	return o
}

// WantInputError wants the task to have failed by the fault of the parameter.
func (o *Outcome) WantInputError(param string) *Outcome {
	o.t.Helper()
	return o.WantFailure("input", fmt.Sprintf("parameter %q", param))
}

// WantResponse wants just these response lines.
func (o *Outcome) WantResponse(want ...string) *Outcome {
	o.t.Helper()
	if !slices.Equal(o.Response, want) {
		o.errorf("response is %q, want %q", o.Response, want)
	}
	return o
}

// WantStates wants the task to have gone through just these states: its execution flow.
func (o *Outcome) WantStates(want ...int) *Outcome {
	o.t.Helper()
	if !slices.Equal(o.States, want) {
		o.errorf("states are %v, want %v", o.States, want)
	}
	return o
}

// WantMeta wants the value in the additional meta info, both as they are in JSON.
func (o *Outcome) WantMeta(key string, want any) *Outcome {
	o.t.Helper()
	if got, ok := o.Meta[key]; !ok {
		o.errorf("meta info has no %q; it has %v", key, o.Meta)
	} else if !sameJSON(got, want) {
		o.errorf("meta info %q is %v, want %v", key, got, want)
	}
	return o
}

// WantResult wants the value of SetResult, both as they are in JSON.
func (o *Outcome) WantResult(want any) *Outcome {
	o.t.Helper()
	if !sameJSON(o.Result, want) {
		o.errorf("result is %v, want %v", o.Result, want)
	}
	return o
}

// WantLog wants a line of the level and message among those that were logged. The args are
// attributes that it must have (it may have more), as log/slog takes them: keys and values
// in turn; the values are compared as they are in JSON.
func (o *Outcome) WantLog(level slog.Level, message string, args ...any) *Outcome {
	o.t.Helper()
	if !slices.ContainsFunc(o.Logs, func(l sdk.LogLine) bool {
		if l.Level != level || l.Message != message {
			return false
		}
		for i := 0; i+1 < len(args); i += 2 {
			got, ok := l.Attrs[fmt.Sprint(args[i])]
			if !ok || !sameJSON(got, args[i+1]) {
				return false
			}
		}
		return true
	}) {
		o.errorf("no log line %v %q %v", level, message, args)
	}
	return o
}

// WantReport wants the task to have told the error reporters an error or a message that
// contains text.
func (o *Outcome) WantReport(text string) *Outcome {
	o.t.Helper()
	if !slices.ContainsFunc(o.Reports, func(r sdk.Report) bool {
		return r.Failure != nil && strings.Contains(r.Failure.Message, text) || r.Message != "" && strings.Contains(r.Message, text)
	}) {
		o.errorf("nothing with %q was reported", text)
	}
	return o
}

// WantProgress wants the last progress that was told. (What came before is in Progress; a
// binary may leave some out, as it tells the host only what is new when that listens.)
func (o *Outcome) WantProgress(fraction float64, text string) *Outcome {
	o.t.Helper()
	switch n := len(o.Progress); {
	case n == 0:
		o.errorf("no progress was told, want %v %q", fraction, text)
	case o.Progress[n-1] != sdk.Progress{Fraction: fraction, Text: text}:
		o.errorf("last progress is %v %q, want %v %q", o.Progress[n-1].Fraction, o.Progress[n-1].Text, fraction, text)
	}
	return o
}

// WantPushed wants a task of the type and with the parameters among those that the task
// pushed. The params are compared as they are in JSON; nil: any.
func (o *Outcome) WantPushed(typ string, params any) *Outcome {
	o.t.Helper()
	if !slices.ContainsFunc(o.Pushed, func(n sdk.NewTask) bool { return isTask(n, typ, params) }) {
		o.errorf("no task %s %v was pushed; these were: %s", typ, params, taskList(o.Pushed))
	}
	return o
}

// WantUndo wants the task that would undo this one. See WantPushed about params.
func (o *Outcome) WantUndo(typ string, params any) *Outcome {
	o.t.Helper()
	switch {
	case o.Undo == nil:
		o.errorf("there is nothing to undo it, want task %s", typ)
	case !isTask(*o.Undo, typ, params):
		o.errorf("it would be undone by %s, want %s %v", taskList([]sdk.NewTask{*o.Undo}), typ, params)
	}
	return o
}

func isTask(n sdk.NewTask, typ string, params any) bool {
	if n.Params == nil {
		n.Params = struct{}{}
	}
	return n.Type == typ && (params == nil || sameJSON(n.Params, params))
}

func taskList(tasks []sdk.NewTask) string {
	words := []string{}
	for _, n := range tasks {
		words = append(words, fmt.Sprintf("%s %s", n.Type, n.Params))
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// sameJSON reports whether a and b are the same as JSON.
func sameJSON(a, b any) bool {
	plain := func(v any) (any, error) {
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		var out any
		return out, json.Unmarshal(raw, &out)
	}
	a, errA := plain(a)
	b, errB := plain(b)
	return errA == nil && errB == nil && reflect.DeepEqual(a, b)
}
