package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/backplane/leptir/internal/pluginpb"
)

// The kinds of a Failure.
const (
	kindError  = "error"
	kindPanic  = "panic"
	kindGoexit = "goexit"
	kindInput  = "input"
)

// failureOf turns an error into what the host is told of it.
func failureOf(err error) *pluginpb.Failure {
	// fmt survives an Error method that panics.
	f := &pluginpb.Failure{Kind: kindError, Message: text(fmt.Sprint(err), MaxFailureBytes)}
	if input := (*InputError)(nil); errors.As(err, &input) {
		f.Kind, f.Permanent = kindInput, true
	}
	if permanent := (*permanentError)(nil); errors.As(err, &permanent) {
		f.Permanent = true
	}
	if retry := (*retryError)(nil); errors.As(err, &retry) {
		f.RetryAfter = int64(max(retry.after, time.Nanosecond)) // 0 would be the policy's
	}
	var data map[string]any
	for inner, e := (*dataError)(nil), err; errors.As(e, &inner); e = inner.error {
		if data == nil {
			data = map[string]any{}
		}
		for k, v := range inner.data {
			if _, ok := data[k]; !ok {
				data[k] = v
			}
		}
	}
	if data != nil {
		var problems []error
		if f.Data, problems = encodeObject(data, MaxFailureBytes); problems != nil {
			f.Message = text(fmt.Sprintf("%s (and its data: %v)", f.Message, errors.Join(problems...)), MaxFailureBytes)
		}
	}
	return f
}

// encodeMeta turns the additional meta info into JSON; what cannot be is left out and
// named in the errors.
func encodeMeta(m map[string]any) ([]byte, []error) {
	if len(m) == 0 {
		return nil, nil
	}
	return encodeObject(m, MaxMetaBytes)
}

// encodeObject writes m as a JSON object of at most limit bytes. Keys whose values cannot
// be JSON, or are too large together, are left out and named in the errors.
func encodeObject(m map[string]any, limit int) ([]byte, []error) {
	if b, err := json.Marshal(m); err == nil && len(b) <= limit {
		return b, nil
	}
	var problems []error
	good := map[string]json.RawMessage{}
	size := 2
	for _, k := range slices.Sorted(maps.Keys(m)) {
		b, err := json.Marshal(m[k])
		entry := len(b) + len(k) + 4
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("%q left out: %w", text(k, maxNameBytes), err))
		case size+entry > limit:
			problems = append(problems, fmt.Errorf("%q left out: its %d bytes would make more than the %d that are allowed in all", text(k, maxNameBytes), len(b), limit))
		default:
			good[k] = b
			size += entry
		}
		if len(problems) == maxProblems {
			problems = append(problems, errors.New("and so on"))
			break
		}
	}
	b, err := json.Marshal(good)
	if err != nil {
		return nil, append(problems, err)
	}
	return b, problems
}

// maxProblems is how many problems of one map are named.
const maxProblems = 10

// end closes the task: nothing of it follows what is written into r.
func (t *BaseTask) end(r *pluginpb.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Failure != nil {
		t.addResponseLine(r.Failure.Message)
	}
	t.ended = true
	if !t.finished {
		t.finished, t.duration = true, time.Since(t.started)
	}
	r.Response, r.States, r.Value = t.response, t.states, t.result
	r.Started, r.Duration = t.started.UnixNano(), int64(t.duration)
	t.ctx.finish(errTaskEnded)
}

// resultSize returns about how many bytes r takes.
func resultSize(r *pluginpb.Result) int {
	size := 64 + len(r.Id) + len(r.Meta) + len(r.Value) + 4*len(r.States) + failureSize(r.Failure)
	for _, line := range r.Response {
		size += len(line) + 4
	}
	for _, f := range r.Also {
		size += failureSize(f)
	}
	return size + len(r.GetUndo().GetParams())
}

func failureSize(f *pluginpb.Failure) int {
	if f == nil {
		return 0
	}
	return 64 + len(f.Message) + len(f.Stack) + len(f.Data)
}
