package sdktest

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

// An Option changes how a task is run.
type Option func(*options)

type options struct {
	sdk.TryOptions
	ctx   context.Context
	clock *time.Time
	env   []string
}

// ID sets the task's id; without it there is one, which is always the same.
func ID(id string) Option { return func(o *options) { o.ID = id } }

// Attempt sets which attempt at the task this is, from 1, which it is without.
func Attempt(n int) Option { return func(o *options) { o.Attempt = n } }

// Priority sets the priority that the task was pushed with; 0 without.
func Priority(n int) Option { return func(o *options) { o.Priority = n } }

// TimeLimit sets the most time that the task may run. Its context ends a tenth of it, and
// 2 s at most, earlier. One that goes on all the same ends with TimeLimitExceeded: a
// binary's process is killed; a task that runs in the test's process is left to itself.
// Without it binaries have DefaultTimeLimit, and tasks in the test's process none.
func TimeLimit(d time.Duration) Option { return func(o *options) { o.TimeLimit = d } }

// Revert does not run the task but asks it for the one that would undo it, which is in the
// outcome's Undo.
func Revert() Option { return func(o *options) { o.TryOptions.Revert = true } }

// Context runs the task in ctx; its end cancels the task, as an operator would.
func Context(ctx context.Context) Option { return func(o *options) { o.ctx = ctx } }

// Clock runs the task by a virtual clock that starts at the time given (in UTC, not before
// the year 2000) and goes forward only while the task waits: an hour of time.Sleep takes no
// time at all. It is that of testing/synctest, whose conditions hold: the task may not wait
// for anything outside the test, such as a network, and must end some time. It is not for
// binaries, and needs a *testing.T.
func Clock(start time.Time) Option { return func(o *options) { o.clock = &start } }

// Env adds a variable, as NAME=value, to the environment of a binary. Of this process's it
// gets what a host hands down by default: PATH, HOME, LANG, LC_ALL and TZ.
func Env(variable string) Option { return func(o *options) { o.env = append(o.env, variable) } }

func newOptions(list []Option) *options {
	o := &options{ctx: context.Background()}
	for _, option := range list {
		option(o)
	}
	return o
}

// Run runs one task of the type in this process and returns when it has ended. The params
// are anything that encoding/json turns into an object, such as a struct or a map; a
// json.RawMessage is taken as the JSON text; nil: none.
func Run(t T, typ sdk.TaskType, params any, list ...Option) *Outcome {
	t.Helper()
	o := newOptions(list)
	out := &Outcome{t: t, what: typ.Name()}
	raw, ok := encode(t, params)
	switch {
	case !ok:
	case len(o.env) > 0:
		t.Fatalf("sdktest: the option Env is for binaries")
	case o.clock == nil:
		out.Outcome = sdk.TryWith(o.ctx, typ, raw, o.TryOptions)
	default:
		runByClock(t, out, typ, raw, o)
	}
	return out
}

// runByClock is Run by a virtual clock.
func runByClock(t T, out *Outcome, typ sdk.TaskType, raw json.RawMessage, o *options) {
	t.Helper()
	tt, ok := t.(*testing.T)
	switch {
	case !ok:
		t.Fatalf("sdktest: the option Clock needs a *testing.T")
		return
	case o.ctx.Done() != nil:
		t.Fatalf("sdktest: the options Clock and Context do not go together: the context would end by another clock")
		return
	}
	synctest.Test(tt, func(*testing.T) {
		if o.clock.Before(time.Now()) {
			tt.Errorf("sdktest: the clock can start at %v at the earliest, not at %v", time.Now().UTC(), o.clock)
			return
		}
		time.Sleep(time.Until(*o.clock))
		out.Outcome = sdk.TryWith(o.ctx, typ, raw, o.TryOptions)
		if f := out.Failure; f != nil && f.Kind == "timeout" {
			const long = 10 * 365 * 24 * time.Hour
			time.Sleep(long) // the bubble needs the task to end
		}
	})
}

// encode turns parameters into JSON.
func encode(t T, params any) (json.RawMessage, bool) {
	t.Helper()
	if params == nil {
		return nil, true
	}
	raw, err := json.Marshal(params)
	if err != nil {
		t.Fatalf("sdktest: the parameters: %v", err)
		return nil, false
	}
	if string(raw) != "null" && raw[0] != '{' {
		t.Fatalf("sdktest: the parameters are not a JSON object: %.100s", raw)
		return nil, false
	}
	return raw, true
}
