package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	sdk "github.com/backplane/leptir/plugin-sdk"
	"github.com/backplane/leptir/plugin-sdk/sdktest"
)

type busyParams struct {
	Fail string `json:"fail,omitempty"`
	N    int    `json:"n" default:"1" max:"5"`
}

// busy does a bit of everything.
type busy struct{ sdk.BaseTask }

func (t *busy) DoJob(ctx context.Context) (sdk.ReturnCode, error) {
	var p busyParams
	if err := t.Bind(&p); err != nil {
		return sdk.Error, err
	}
	t.LogInfo("begun", "n", p.N, "fail", p.Fail)
	t.ReportMessage("a message for all")
	t.ReportError(errors.New("an error beside"))
	for state := range 3 {
		t.ChangeState(state + 1)
		t.Progress(float64(state+1)/4, fmt.Sprint("step ", state+1))
	}
	if _, err := t.Push(ctx, sdk.NewTask{Type: "other.task", Params: map[string]int{"n": p.N}}); err != nil {
		return sdk.Error, err
	}
	t.AddResponseLine(fmt.Sprint(t.ID(), " ", t.Attempt(), " ", t.Priority()))
	if err := t.SetResult([]int{p.N}); err != nil {
		return sdk.Error, err
	}
	if p.Fail != "" {
		return sdk.Error, errors.New(p.Fail)
	}
	return sdk.Success, nil
}

func (t *busy) GetAdditionalMetaInfo() map[string]any { return map[string]any{"list": []int{1}} }

func (t *busy) Revert(context.Context) (*sdk.NewTask, error) {
	return &sdk.NewTask{Type: "busy.undo"}, nil
}

var busyType = sdk.Type[busy]("busy.do", "Is busy.").WithParams(busyParams{})

func TestWantsThatHold(t *testing.T) {
	t.Parallel()
	o := sdktest.Run(t, busyType, busyParams{N: 2}).WantSuccess().WantCode(sdk.Success).WantResponse("try 1 0").WantStates(1, 2, 3).
		WantMeta("list", []int{1}).WantResult([]int{2}).WantLog(slog.LevelInfo, "begun", "n", 2).WantProgress(0.75, "step 3").
		WantPushed("other.task", map[string]any{"n": 2}).WantPushed("other.task", nil).
		WantReport("for all").WantReport("beside")
	require.Equal(t, []sdk.Progress{{Fraction: 0.25, Text: "step 1"}, {Fraction: 0.5, Text: "step 2"}, {Fraction: 0.75, Text: "step 3"}}, o.Progress)
	sdktest.Run(t, busyType, map[string]any{"fail": "no luck"}, sdktest.ID("x"), sdktest.Attempt(2), sdktest.Priority(-3)).
		WantCode(sdk.Error).WantFailure("error", "luck").WantResponse("x 2 -3", "no luck").WantUndo("busy.undo", struct{}{})
	sdktest.Run(t, busyType, map[string]any{"n": 6}).WantInputError("n")
	sdktest.Run(t, busyType, nil, sdktest.Revert()).WantUndo("busy.undo", nil).WantStates()

	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("enough"))
	wait := sdk.Func("t.wait", "", func(ctx context.Context, _ *sdk.BaseTask, _ map[string]any) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	sdktest.Run(t, wait, nil, sdktest.Context(ctx)).WantFailure("error", "enough")
}

func TestWantsThatDoNotHold(t *testing.T) {
	t.Parallel()
	for want, check := range map[string]func(*sdktest.Outcome){
		`return code is success, want warning`:                       func(o *sdktest.Outcome) { o.WantCode(sdk.Warning) },
		`it has not failed, want a failure with "x"`:                 func(o *sdktest.Outcome) { o.WantFailure("", "x") },
		`response is ["try 1 0"], want []`:                           func(o *sdktest.Outcome) { o.WantResponse() },
		`states are [1 2 3], want [1 2]`:                             func(o *sdktest.Outcome) { o.WantStates(1, 2) },
		`meta info has no "x"; it has map[list:[1]]`:                 func(o *sdktest.Outcome) { o.WantMeta("x", 1) },
		`meta info "list" is [1], want [2]`:                          func(o *sdktest.Outcome) { o.WantMeta("list", []int{2}) },
		`result is [1], want [1 2]`:                                  func(o *sdktest.Outcome) { o.WantResult([]int{1, 2}) },
		`no log line INFO "begun" [n 2]`:                             func(o *sdktest.Outcome) { o.WantLog(slog.LevelInfo, "begun", "n", 2) },
		`no log line WARN "begun" []`:                                func(o *sdktest.Outcome) { o.WantLog(slog.LevelWarn, "begun") },
		`no log line INFO "begun" [m 1]`:                             func(o *sdktest.Outcome) { o.WantLog(slog.LevelInfo, "begun", "m", 1) },
		`last progress is 0.75 "step 3", want 1 "step 3"`:            func(o *sdktest.Outcome) { o.WantProgress(1, "step 3") },
		`nothing with "y" was reported`:                              func(o *sdktest.Outcome) { o.WantReport("y") },
		`no task x <nil> was pushed; these were: other.task {"n":1}`: func(o *sdktest.Outcome) { o.WantPushed("x", nil) },
		`there is nothing to undo it, want task x`:                   func(o *sdktest.Outcome) { o.WantUndo("x", nil) },
	} {
		f := fails(func(f *failing) { check(sdktest.Run(f, busyType, nil)) })
		require.Len(t, f.errors, 1, want)
		require.True(t, strings.HasPrefix(f.errors[0], "busy.do: "+want+"\n  it ended with success after "), f.errors[0])
		require.Contains(t, f.errors[0], `log: INFO begun map[fail: n:1]`)
	}
	for want, check := range map[string]func(*sdktest.Outcome){
		`it has not succeeded`:                                     func(o *sdktest.Outcome) { o.WantSuccess() },
		`failure is of kind "error", want "panic"`:                 func(o *sdktest.Outcome) { o.WantFailure("panic", "no luck") },
		`failure is "no luck", want one with "much"`:               func(o *sdktest.Outcome) { o.WantFailure("error", "much") },
		`failure is of kind "error", want "input"`:                 func(o *sdktest.Outcome) { o.WantInputError("n") },
		`it would be undone by busy.undo %!s(<nil>), want x <nil>`: func(o *sdktest.Outcome) { o.WantUndo("x", nil) },
	} {
		f := fails(func(f *failing) { check(sdktest.Run(f, busyType, busyParams{Fail: "no luck", N: 1})) })
		require.Len(t, f.errors, 1, want)
		require.True(t, strings.HasPrefix(f.errors[0], "busy.do: "+want+"\n"), f.errors[0])
		require.Contains(t, f.errors[0], "failure (error): no luck\n")
	}
	f := fails(func(f *failing) { sdktest.Run(f, busyType, nil).WantStates().WantResponse() })
	require.Len(t, f.errors, 2)
	require.NotContains(t, f.errors[1], "it ended with", "told once is enough")
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	for want, run := range map[string]func(*failing){
		"the option Clock needs a *testing.T":  func(f *failing) { sdktest.Run(f, busyType, nil, sdktest.Clock(time.Now())) },
		"the option Env is for binaries":       func(f *failing) { sdktest.Run(f, busyType, nil, sdktest.Env("A=b")) },
		"the parameters are not a JSON object": func(f *failing) { sdktest.Run(f, busyType, 3) },
		"unsupported type: chan int":           func(f *failing) { sdktest.Run(f, busyType, make(chan int)) },
		"the option Clock is not for binaries": func(f *failing) { sdktest.Binary(f, "x").Run("t.x", nil, sdktest.Clock(time.Now())) },
		"start /nonexistent/x":                 func(f *failing) { sdktest.Binary(f, "/nonexistent/x").Run("t.x", nil) },
		"go build ./nonexistent":               func(f *failing) { sdktest.Build(f, "./nonexistent") },
	} {
		require.Contains(t, fails(run).fatal, want)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	christmas := time.Date(2030, 12, 24, 18, 0, 0, 0, time.UTC)
	nap := sdk.Func("t.nap", "Sleeps.", func(ctx context.Context, t *sdk.BaseTask, p struct {
		Hours int `json:"hours"`
	}) error {
		began := time.Now().UTC()
		time.Sleep(time.Duration(p.Hours) * time.Hour)
		t.AddResponseLine(began.Format(time.DateTime) + " to " + time.Now().UTC().Format(time.DateTime))
		return ctx.Err()
	})
	o := sdktest.Run(t, nap, map[string]int{"hours": 5}, sdktest.Clock(christmas)).
		WantSuccess().WantResponse("2030-12-24 18:00:00 to 2030-12-24 23:00:00")
	require.Equal(t, 5*time.Hour, o.Duration)
	sdktest.Run(t, nap, map[string]int{"hours": 5}, sdktest.Clock(christmas), sdktest.TimeLimit(time.Hour)).
		WantCode(sdk.TimeLimitExceeded).WantFailure("timeout", "time limit of 1h0m0s exceeded")
}

func TestTimeLimitInProcess(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	stuck := sdk.Func("t.stuck", "", func(context.Context, *sdk.BaseTask, map[string]any) error { <-release; return nil })
	sdktest.Run(t, stuck, nil, sdktest.TimeLimit(20*time.Millisecond)).WantCode(sdk.TimeLimitExceeded)
	close(release)
}
