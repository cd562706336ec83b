package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/pluginpb"
)

// scripted is a task whose methods do what the test says; each notes that it ran.
type scripted struct {
	BaseTask
	methods
	ran []string
}

type methods struct {
	before func(context.Context) error
	do     func(context.Context, *BaseTask) (ReturnCode, error)
	after  func(context.Context) error
	meta   func() map[string]any
}

func (s *scripted) BeforeStart(ctx context.Context) error {
	s.ran = append(s.ran, "before")
	if s.before == nil {
		return nil
	}
	return s.before(ctx)
}

func (s *scripted) DoJob(ctx context.Context) (ReturnCode, error) {
	s.ran = append(s.ran, "do")
	if s.do == nil {
		return Success, nil
	}
	return s.do(ctx, &s.BaseTask)
}

func (s *scripted) AfterFinish(ctx context.Context) error {
	s.ran = append(s.ran, "after")
	if s.after == nil {
		return nil
	}
	return s.after(ctx)
}

func (s *scripted) GetAdditionalMetaInfo() map[string]any {
	m := map[string]any{"ran": strings.Join(s.ran, " ")}
	if s.meta != nil {
		for k, v := range s.meta() {
			m[k] = v
		}
	}
	return m
}

// script is the task type of one scripted task.
func script(name string, m methods) TaskType {
	return TaskType{name: name, make: func() Task { return &scripted{methods: m} }}
}

type angry struct{}

func (angry) Error() string { panic("Error method") }

type badJSON struct{}

func (badJSON) MarshalJSON() ([]byte, error) { panic("MarshalJSON method") }

func TestEndings(t *testing.T) {
	t.Parallel()
	doErr := func(err error) func(context.Context, *BaseTask) (ReturnCode, error) {
		return func(context.Context, *BaseTask) (ReturnCode, error) { return Success, err }
	}
	doPanic := func(v any) func(context.Context, *BaseTask) (ReturnCode, error) {
		return func(context.Context, *BaseTask) (ReturnCode, error) { panic(v) }
	}
	code := func(c int) func(context.Context, *BaseTask) (ReturnCode, error) {
		return func(context.Context, *BaseTask) (ReturnCode, error) { return ReturnCode(c), nil }
	}
	goexit := func(context.Context) error { runtime.Goexit(); return nil }
	const all = "before do after"
	type want struct {
		code     int32
		kind     string // of the failure; empty: none
		response []string
		also     []string
		ran      string // the methods that ran; empty: not known
	}
	for _, c := range []struct {
		name string
		task methods
		want want
	}{
		{"success", methods{}, want{1, "", nil, nil, all}},
		{"warning", methods{do: code(2)}, want{2, "", nil, nil, all}},
		{"error without an error", methods{do: code(3)}, want{3, "", nil, nil, all}},
		{"unknown", methods{do: code(4)}, want{4, "", nil, nil, all}},
		{"time limit", methods{do: code(5)}, want{5, "", nil, nil, all}},
		{"code 0", methods{do: code(0)}, want{4, "", nil, nil, all}},
		{"code 6", methods{do: code(6)}, want{4, "", nil, nil, all}},
		{"code -1", methods{do: code(-1)}, want{4, "", nil, nil, all}},
		{"huge code", methods{do: code(math.MaxInt)}, want{4, "", nil, nil, all}},
		{"error", methods{do: doErr(errors.New("no luck"))}, want{3, "error", []string{"no luck"}, nil, all}},
		{"error beside code 5", methods{do: func(context.Context, *BaseTask) (ReturnCode, error) { return TimeLimitExceeded, errors.New("no luck") }},
			want{3, "error", []string{"no luck"}, nil, all}},
		{"error after response lines", methods{do: func(_ context.Context, b *BaseTask) (ReturnCode, error) {
			b.AddResponseLine("one")
			b.AddResponseLine("two")
			return Success, errors.New("no luck")
		}}, want{3, "error", []string{"one", "two", "no luck"}, nil, all}},
		{"input error", methods{do: func(_ context.Context, b *BaseTask) (ReturnCode, error) {
			_, err := b.GetInt("n")
			return Success, fmt.Errorf("cannot start: %w", err)
		}}, want{3, "input", []string{`cannot start: parameter "n": not defined`}, nil, all}},
		{"panic", methods{do: doPanic("boom")}, want{3, "panic", []string{"boom"}, nil, all}},
		{"panic with an error", methods{do: doPanic(io.ErrUnexpectedEOF)}, want{3, "panic", []string{"unexpected EOF"}, nil, all}},
		{"panic with a number", methods{do: doPanic(42)}, want{3, "panic", []string{"42"}, nil, all}},
		{"panic(nil)", methods{do: doPanic(nil)}, want{3, "panic", []string{(&runtime.PanicNilError{}).Error()}, nil, all}},
		{"nil dereference", methods{do: func(context.Context, *BaseTask) (ReturnCode, error) {
			var p *scripted
			p.ran = nil
			return Success, nil
		}}, want{3, "panic", []string{"runtime error: invalid memory address or nil pointer dereference"}, nil, all}},
		{"Goexit", methods{do: func(context.Context, *BaseTask) (ReturnCode, error) { runtime.Goexit(); return Success, nil }},
			want{3, "goexit", []string{"the task ended its own goroutine (runtime.Goexit)"}, nil, all}},
		{"error that panics", methods{do: doErr(angry{})}, want{3, "error", []string{"%!v(PANIC=Error method: Error method)"}, nil, all}},
		{"panic with an error that panics", methods{do: doPanic(angry{})}, want{3, "panic", []string{"%!v(PANIC=Error method: Error method)"}, nil, all}},
		{"error that is not UTF-8", methods{do: doErr(errors.New("no \xff luck"))}, want{3, "error", []string{"no \uFFFD luck"}, nil, all}},

		{"error in BeforeStart", methods{before: func(context.Context) error { return errors.New("not ready") }},
			want{3, "error", []string{"not ready"}, nil, "before after"}},
		{"panic in BeforeStart", methods{before: func(context.Context) error { panic("not ready") }},
			want{3, "panic", []string{"not ready"}, nil, "before after"}},
		{"Goexit in BeforeStart", methods{before: goexit},
			want{3, "goexit", []string{"the task ended its own goroutine (runtime.Goexit)"}, nil, "before after"}},
		{"error in AfterFinish", methods{after: func(context.Context) error { return errors.New("not clean") }},
			want{1, "", nil, []string{"error: after finish: not clean"}, all}},
		{"panic in AfterFinish", methods{do: code(2), after: func(context.Context) error { panic("not clean") }},
			want{2, "", nil, []string{"panic: after finish: not clean"}, all}},
		{"Goexit in AfterFinish", methods{after: goexit},
			want{1, "", nil, []string{"goexit: after finish: the task ended its own goroutine (runtime.Goexit)"}, all}},
		{"error everywhere", methods{
			before: func(context.Context) error { return errors.New("not ready") },
			after:  func(context.Context) error { return errors.New("not clean") },
		}, want{3, "error", []string{"not ready"}, []string{"error: after finish: not clean"}, "before after"}},
		{"Goexit everywhere", methods{before: goexit, after: goexit, meta: func() map[string]any { runtime.Goexit(); return nil }},
			want{3, "goexit", []string{"the task ended its own goroutine (runtime.Goexit)"}, []string{
				"goexit: after finish: the task ended its own goroutine (runtime.Goexit)",
				"goexit: additional meta info: the task ended its own goroutine (runtime.Goexit)"}, ""}},
		{"panic in GetAdditionalMetaInfo", methods{meta: func() map[string]any { panic("no info") }},
			want{1, "", nil, []string{"panic: additional meta info: no info"}, ""}},
		{"meta info that is not JSON", methods{meta: func() map[string]any {
			return map[string]any{"good": 1, "bad": make(chan int), "nan": math.NaN()}
		}}, want{1, "", nil, []string{
			`error: additional meta info: "bad" left out: json: unsupported type: chan int`,
			`error: additional meta info: "nan" left out: json: unsupported value: NaN`}, all}},
		{"meta info too large", methods{meta: func() map[string]any { return map[string]any{"good": 1, "large": strings.Repeat("x", MaxMetaBytes)} }},
			want{1, "", nil, []string{
				`error: additional meta info: "large" left out: its 1048578 bytes would make more than the 1048576 that are allowed in all`}, all}},
		{"meta info whose JSON method panics", methods{meta: func() map[string]any { return map[string]any{"bad": badJSON{}} }},
			want{1, "", nil, []string{"panic: additional meta info: MarshalJSON method"}, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newTestHost(t, script("t.script", c.task), Type[noop]("t.noop", ""))
			h.run(taskOf("t.script", "first"), taskOf("t.noop", "second"))
			r, _ := h.result()
			require.Equal(t, "first", r.Id)
			require.Equal(t, c.want.code, r.ReturnCode)
			require.Equal(t, c.want.kind, r.GetFailure().GetKind())
			require.Equal(t, c.want.response, r.Response)
			if c.want.kind != "" {
				require.Equal(t, r.Response[len(r.Response)-1], r.Failure.Message)
				require.Equal(t, c.want.kind == "input", r.Failure.Permanent)
				if c.want.kind == "panic" || c.want.kind == "goexit" {
					require.Contains(t, r.Failure.Stack, "endings_test.go", "where it happened")
				}
			}
			var also []string
			for _, f := range r.Also {
				also = append(also, f.Kind+": "+f.Message)
			}
			require.Equal(t, c.want.also, also)
			if c.want.ran != "" {
				meta := decodeObject(r.Meta)
				require.Equal(t, c.want.ran, meta["ran"])
			} else {
				require.Empty(t, r.Meta)
			}
			require.NotZero(t, r.Started)
			require.NotZero(t, r.Duration)

			// Whatever the first did, the second runs.
			r, _ = h.result()
			require.Equal(t, "second", r.Id)
			require.Equal(t, int32(1), r.ReturnCode)
		})
	}
}

func TestMarkedErrors(t *testing.T) {
	t.Parallel()
	base := errors.New("no luck")
	require.NoError(t, Permanent(nil))
	require.NoError(t, RetryAfter(nil, time.Second))
	require.NoError(t, WithData(nil, map[string]any{"a": 1}))
	for _, err := range []error{Permanent(base), RetryAfter(base, time.Second), WithData(base, map[string]any{"a": 1})} {
		require.ErrorIs(t, err, base)
		require.EqualError(t, err, "no luck")
	}
	for _, c := range []struct {
		name string
		err  error
		want *pluginpb.Failure
	}{
		{"permanent", fmt.Errorf("send: %w", Permanent(base)), &pluginpb.Failure{Message: "send: no luck", Permanent: true}},
		{"retry after", fmt.Errorf("send: %w", RetryAfter(base, time.Minute)), &pluginpb.Failure{Message: "send: no luck", RetryAfter: int64(time.Minute)}},
		{"retry at once", RetryAfter(base, 0), &pluginpb.Failure{Message: "no luck", RetryAfter: 1}},
		{"data", WithData(fmt.Errorf("send: %w", WithData(base, map[string]any{"a": 1, "b": "inner"})), map[string]any{"b": "outer"}),
			&pluginpb.Failure{Message: "send: no luck", Data: []byte(`{"a":1,"b":"outer"}`)}},
		{"bad data", WithData(base, map[string]any{"a": 1, "b": func() {}}),
			&pluginpb.Failure{Message: `no luck (and its data: "b" left out: json: unsupported type: func())`, Data: []byte(`{"a":1}`)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := failureOf(c.err)
			require.Equal(t, "error", f.Kind)
			require.Equal(t, c.want.Message, f.Message)
			require.Equal(t, c.want.Permanent, f.Permanent)
			require.Equal(t, c.want.RetryAfter, f.RetryAfter)
			require.Equal(t, string(c.want.Data), string(f.Data))
		})
	}
}

func TestTooMuchOfEverything(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 4<<20/2)
	h := newTestHost(t, script("t.much", methods{
		do: func(_ context.Context, b *BaseTask) (ReturnCode, error) {
			b.AddResponseLine("first")
			b.AddResponseLine(long)
			b.AddResponseLine("never seen")
			for i := range 3 * MaxStates {
				b.ChangeState(i)
			}
			last, ok := b.GetLastState()
			if !ok || last != 3*MaxStates-1 || len(b.GetExecutionFlow()) != MaxStates {
				return Error, errors.New("states")
			}
			b.Progress(2, long)
			b.LogInfo(long, "long", long)
			if err := b.SetResult(long); err == nil {
				return Error, errors.New("a result of 4 MiB is taken")
			}
			if err := b.SetResult("short"); err != nil {
				return Error, err
			}
			panic(long)
		},
		meta: func() map[string]any {
			m := map[string]any{}
			for i := range 64 {
				m[fmt.Sprint("key", i)] = long[:100<<10]
			}
			return m
		},
	}))
	h.run(taskOf("t.much", "a"))
	r, before := h.result()
	require.Equal(t, int32(3), r.ReturnCode)
	require.Len(t, r.Response, 2, "a cut response takes no further line")
	require.Equal(t, "first", r.Response[0])
	require.LessOrEqual(t, len(r.Response[1]), MaxResponseBytes+64)
	require.Regexp(t, ` … \(\d+ bytes left out\)$`, r.Response[1])
	require.Len(t, r.States, MaxStates)
	require.Equal(t, `"short"`, string(r.Value))
	require.LessOrEqual(t, len(r.Meta), MaxMetaBytes)
	require.True(t, json.Valid(r.Meta))
	require.LessOrEqual(t, len(r.Failure.Message), MaxFailureBytes+64)
	require.LessOrEqual(t, len(r.Failure.Stack), MaxFailureBytes+64)
	require.Len(t, r.Also, maxProblems+1)
	require.Equal(t, "additional meta info: and so on", r.Also[maxProblems].Message)

	states, lines := 0, []string{}
	for _, e := range before {
		switch {
		case e.GetState() != nil:
			states++
		case e.GetLog() != nil:
			l := e.GetLog()
			lines = append(lines, l.Message)
			require.LessOrEqual(t, len(l.Message), MaxLogBytes+64)
			require.LessOrEqual(t, len(l.Attrs), MaxLogBytes)
		case e.GetProgress() != nil:
			p := e.GetProgress()
			require.Equal(t, 1.0, p.Fraction)
			require.LessOrEqual(t, len(p.Text), maxProgressBytes+64)
		}
	}
	require.Equal(t, MaxStates, states)
	require.Len(t, lines, 2)
	require.Equal(t, "1000 states: the further ones are not kept", lines[0])
	require.Regexp(t, `left out\)$`, lines[1])
}

func TestText(t *testing.T) {
	t.Parallel()
	require.Equal(t, "short", text("short", 5))
	require.Equal(t, "ab … (3 bytes left out)", text("abcde", 2))
	require.Equal(t, "a … (4 bytes left out)", text("aéé", 2), "no letter is cut in two")
	require.Equal(t, "\uFFFD", text("\xff", 5))
	require.Equal(t, " … (10 bytes left out)", text("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", 4))
}
