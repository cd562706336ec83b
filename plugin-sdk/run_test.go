package sdk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backplane/leptir/internal/pluginpb"
)

// each is the task type of a function of the task's context and base.
func each(name string, do func(ctx context.Context, b *BaseTask) error) TaskType {
	return Func(name, "", func(ctx context.Context, b *BaseTask, _ map[string]any) error { return do(ctx, b) })
}

// untilCancelled waits for the end of its context and returns its error.
func untilCancelled(ctx context.Context, b *BaseTask) error {
	b.LogInfo("waiting")
	<-ctx.Done()
	return ctx.Err()
}

func (h *testHost) waitForLog(message string) {
	h.t.Helper()
	for {
		e := h.next()
		require.NotNil(h.t, e)
		if l := e.GetLog(); l != nil && l.Message == message {
			return
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	h := newTestHost(t, Type[noop]("t.noop", "Does nothing."), Type[undoable]("t.undoable", "Can be undone."))
	d, err := h.client.Describe(context.Background(), &pluginpb.DescribeRequest{})
	require.NoError(t, err)
	require.Equal(t, "test", d.Name)
	require.Equal(t, "1", d.Version)
	require.Equal(t, "go/"+Version, d.SdkVersion)
	require.Len(t, d.Tasks, 2)
	require.Equal(t, "t.noop", d.Tasks[0].Name)
	require.Equal(t, "Does nothing.", d.Tasks[0].Doc)
	require.False(t, d.Tasks[0].Revertible)
	require.True(t, d.Tasks[1].Revertible)
}

type byPointer struct{ *BaseTask }

func (byPointer) DoJob(context.Context) (ReturnCode, error) { return Success, nil }

func TestPluginCheck(t *testing.T) {
	t.Parallel()
	good := Type[noop]("t.noop", "")
	for want, p := range map[string]Plugin{
		"has no name":                  {Tasks: []TaskType{good}},
		"serves no task type":          {Name: "p"},
		"was not made by":              {Name: "p", Tasks: []TaskType{{name: "t.x"}}},
		`task type "":`:                {Name: "p", Tasks: []TaskType{Type[noop]("", "")}},
		"embed sdk.BaseTask itself":    {Name: "p", Tasks: []TaskType{Type[byPointer]("t.x", "")}},
		`task type "a b":`:             {Name: "p", Tasks: []TaskType{Type[noop]("a b", "")}},
		"1 to 128":                     {Name: "p", Tasks: []TaskType{Type[noop](strings.Repeat("x", 129), "")}},
		`has task type "t.noop" twice`: {Name: "p", Tasks: []TaskType{good, good}},
	} {
		require.ErrorContains(t, p.check(), want)
	}
	require.NoError(t, (&Plugin{Name: "p", Tasks: []TaskType{good, Type[noop]("T-1_b", "")}}).check())
}

func TestUnknownType(t *testing.T) {
	t.Parallel()
	h := newTestHost(t, Type[noop]("t.noop", ""))
	h.run(taskOf("t.nope", "a"), taskOf("t.noop", "b"))
	r, _ := h.result()
	require.Equal(t, int32(3), r.ReturnCode)
	require.Equal(t, "input", r.Failure.Kind)
	require.Equal(t, []string{`this plugin has no task type "t.nope"`}, r.Response)
	require.False(t, r.Failure.Permanent, "another version of the plugin may have it")
	r, _ = h.result()
	require.Equal(t, int32(1), r.ReturnCode)
}

func TestOrderOfEvents(t *testing.T) {
	t.Parallel()
	h := newTestHost(t, each("t.events", func(ctx context.Context, b *BaseTask) error {
		b.LogInfo("one")
		b.ChangeState(7)
		b.Logger().Warn("two", "n", 2)
		b.ChangeState(-8)
		b.Progress(0.5, "half")
		b.LogError("three")
		return nil
	}))
	for i := range 3 {
		id := fmt.Sprint("task", i)
		h.run(taskOf("t.events", id))
		r, before := h.result()
		require.Equal(t, id, r.Id)
		require.Equal(t, []int32{7, -8}, r.States)
		var seen []string
		for _, e := range before {
			switch k := e.Kind.(type) {
			case *pluginpb.Event_Log:
				require.Equal(t, id, k.Log.Id)
				require.NotZero(t, k.Log.Time)
				seen = append(seen, fmt.Sprintf("%d %s %s", k.Log.Level, k.Log.Message, k.Log.Attrs))
			case *pluginpb.Event_State:
				require.Equal(t, id, k.State.Id)
				require.NotZero(t, k.State.Time)
				seen = append(seen, fmt.Sprint(k.State.State))
			case *pluginpb.Event_Progress:
				require.Equal(t, id, k.Progress.Id)
				seen = append(seen, fmt.Sprintf("%g %s", k.Progress.Fraction, k.Progress.Text))
			}
		}
		require.Equal(t, []string{"0 one ", "7", `4 two {"n":2}`, "-8", "0.5 half", "8 three "}, seen)
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	var running atomic.Int32
	h := newTestHost(t, each("t.alone", func(context.Context, *BaseTask) error {
		if running.Add(1) != 1 {
			return errors.New("another task is running")
		}
		defer running.Add(-1)
		return nil
	}))
	const n = 1000
	var tasks []*pluginpb.Task
	for i := range n {
		tasks = append(tasks, taskOf("t.alone", fmt.Sprint(i)))
	}
	h.run(tasks[:n/2]...)
	h.run(tasks[n/2:]...)
	for i := range n {
		r, before := h.result()
		require.Empty(t, before)
		require.Equal(t, fmt.Sprint(i), r.Id, "in the order of arrival")
		require.Equal(t, int32(1), r.ReturnCode)
	}
}

func TestWhatATaskKnows(t *testing.T) {
	t.Parallel()
	h := newTestHost(t, each("t.knows", func(ctx context.Context, b *BaseTask) error {
		deadline, ok := ctx.Deadline()
		b.AddResponseLine(fmt.Sprint(b.ID(), " ", b.Type(), " ", b.Attempt(), " ", b.Priority(), " ", b.TimeLimit(), " ", b.TraceParent()))
		b.AddResponseLine(fmt.Sprint(ok, FromContext(ctx) == b, ctx.Err()))
		if ok && time.Until(deadline) > time.Hour {
			return errors.New("the deadline is too far away")
		}
		return nil
	}))
	h.run(&pluginpb.Task{Id: "a", Type: "t.knows", Attempt: 3, Priority: -2, TimeLimit: int64(2 * time.Hour),
		SoftLimit: int64(time.Hour), Traceparent: "00-1-2-01"}, &pluginpb.Task{Id: "b", Type: "t.knows"})
	r, _ := h.result()
	require.Equal(t, []string{"a t.knows 3 -2 2h0m0s 00-1-2-01", "true true <nil>"}, r.Response)
	r, _ = h.result()
	require.Equal(t, []string{"b t.knows 1 0 0s ", "false true <nil>"}, r.Response)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	var cause atomic.Value
	h := newTestHost(t, each("t.wait", func(ctx context.Context, b *BaseTask) error {
		err := untilCancelled(ctx, b)
		cause.Store(context.Cause(ctx))
		return fmt.Errorf("gave up: %w", err)
	}), Type[noop]("t.noop", ""))
	h.run(taskOf("t.wait", "head"), taskOf("t.wait", "waiting"), taskOf("t.noop", "last"))
	h.waitForLog("waiting")
	h.send(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: "waiting", Reason: "not wanted"}})
	h.send(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: "nobody"}})
	h.send(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: "head", Reason: "the host drains"}})
	h.send(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: "head", Reason: "again"}})

	r, _ := h.result()
	require.Equal(t, "head", r.Id)
	require.Equal(t, int32(3), r.ReturnCode)
	require.Equal(t, "gave up: context canceled: the task was cancelled: the host drains", r.Failure.Message)
	require.ErrorIs(t, cause.Load().(error), ErrCancelled)

	r, before := h.result()
	require.Equal(t, "waiting", r.Id)
	require.Empty(t, before, "it did not start")
	require.Zero(t, r.Started)
	require.Equal(t, int32(3), r.ReturnCode)
	require.Equal(t, "not started: the task was cancelled: not wanted", r.Failure.Message)

	r, _ = h.result()
	require.Equal(t, "last", r.Id)
	require.Equal(t, int32(1), r.ReturnCode)
}

func TestRecall(t *testing.T) {
	t.Parallel()
	h := newTestHost(t, each("t.wait", untilCancelled), Type[noop]("t.noop", ""))
	recall := func() []string {
		h.send(&pluginpb.HostMessage{Recall: true})
		e := h.next().GetRecalled()
		require.NotNil(t, e)
		return e.Ids
	}
	h.run(taskOf("t.wait", "head"), taskOf("t.noop", "b"), taskOf("t.noop", "c"))
	h.waitForLog("waiting")
	h.send(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: "b"}})
	require.Equal(t, []string{"b", "c"}, recall(), "not the one that has begun")
	require.Empty(t, recall())
	h.send(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: "head"}})
	h.run(taskOf("t.noop", "d"), taskOf("t.noop", "b"))
	for _, want := range []string{"head", "d", "b"} {
		r, _ := h.result()
		require.Equal(t, want, r.Id)
		require.Equal(t, want != "head", r.ReturnCode == 1, "what was said of a recalled task is forgotten: %v", r)
	}
	require.NoError(t, h.stream.CloseSend())
	require.Nil(t, h.next(), "a recalled task never begins")
}

func TestSoftLimit(t *testing.T) {
	t.Parallel()
	h := newTestHost(t,
		each("t.wait", func(ctx context.Context, b *BaseTask) error {
			err := untilCancelled(ctx, b)
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(context.Cause(ctx), ErrTimeLimit) {
				return fmt.Errorf("err %w, cause %w", err, context.Cause(ctx))
			}
			return err
		}),
		each("t.own", func(ctx context.Context, b *BaseTask) error {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			<-ctx.Done()
			return ctx.Err()
		}))
	limited := taskOf("t.wait", "a")
	limited.SoftLimit = int64(20 * time.Millisecond)
	own := taskOf("t.own", "b")
	own.SoftLimit = int64(time.Hour)
	h.run(limited, own)
	r, _ := h.result()
	require.Equal(t, int32(5), r.ReturnCode)
	require.Equal(t, "context deadline exceeded: the task's time limit is reached", r.Failure.Message)
	require.GreaterOrEqual(t, r.Duration, int64(20*time.Millisecond))
	r, _ = h.result()
	require.Equal(t, int32(3), r.ReturnCode, "a time limit of the task's own is an error like any other")
	require.Equal(t, "context deadline exceeded", r.Failure.Message)
}

// The host's word that the time limit is near does not make a cancellation of a time-out.
func TestSoftLimitIsNoCancellation(t *testing.T) {
	t.Parallel()
	h := newTestHost(t, each("t.wait", untilCancelled))
	limited := taskOf("t.wait", "a")
	limited.SoftLimit = int64(200 * time.Millisecond)
	h.run(limited)
	h.waitForLog("waiting")
	h.send(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: "a", Reason: "time limit is near", Dump: true, TimeLimit: true}})
	require.Equal(t, "a", h.next().GetDump().GetId())
	r, _ := h.result()
	require.Equal(t, int32(5), r.ReturnCode)
	require.Equal(t, "context deadline exceeded: the task's time limit is reached", r.Failure.Message)
}

func TestDump(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	h := newTestHost(t, each("t.stuck", func(ctx context.Context, b *BaseTask) error {
		b.LogInfo("stuck")
		<-release    // whatever its context says
		<-ctx.Done() // the stacks are written down before the task learns of it
		return ctx.Err()
	}))
	h.run(taskOf("t.stuck", "a"))
	h.waitForLog("stuck")
	h.send(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: "a", Reason: "time limit", Dump: true}})
	d := h.next().GetDump()
	require.NotNil(t, d)
	require.Equal(t, "a", d.Id)
	require.Contains(t, string(d.Text), "TestDump.func1", "where the task hangs")
	require.LessOrEqual(t, len(d.Text), MaxDumpBytes)
	first, _, _ := strings.Cut(string(d.Text), "\n\n")
	require.Contains(t, first, "(*executor).loop(", "a task comes first, not what serves the host")
	require.NotContains(t, first, "sdk.stacks()")
	close(release)
	r, _ := h.result()
	require.Equal(t, "context canceled: the task was cancelled: time limit", r.Failure.Message)
}

func TestStacksAreBounded(t *testing.T) { // not parallel: it starts many goroutines
	stop := make(chan struct{})
	defer close(stop)
	for range 8000 {
		go func() { <-stop }()
	}
	require.InDelta(t, MaxDumpBytes, len(stacks()), 2)
}

func TestTaskFirst(t *testing.T) {
	t.Parallel()
	dump := []string{
		"goroutine 9 [running]:\nsdk.stacks()\ncreated by google.golang.org/grpc.(*Server).serveStreams.func2 in goroutine 25",
		"goroutine 1 [select]:\nmain.main()",
		"goroutine 4 [select]:\nnet/http.(*persistConn).readLoop(0x1)\ncreated by net/http.(*Transport).dialConn in goroutine 7",
		"goroutine 7 [sleep]:\nmain.work()\ngithub.com/backplane/leptir/plugin-sdk.(*executor).loop(0x2)\ncreated by github.com/backplane/leptir/plugin-sdk.(*service).Run in goroutine 3",
		"goroutine 8 [chan receive]:\nmain.helper()\ncreated by main.work in goroutine 7",
	}
	want := strings.Join([]string{dump[3], dump[2], dump[4], dump[0], dump[1]}, "\n\n")
	require.Equal(t, want, string(taskFirst([]byte(strings.Join(dump, "\n\n")+"\n"))))
	require.Empty(t, taskFirst(nil))
}

func TestEndOfStream(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	h := newTestHost(t, each("t.wait", func(ctx context.Context, b *BaseTask) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	h.run(taskOf("t.wait", "a"), taskOf("t.wait", "b"))
	require.NoError(t, h.stream.CloseSend())
	close(release)
	for _, id := range []string{"a", "b"} {
		r, _ := h.result()
		require.Equal(t, id, r.Id)
		require.Equal(t, int32(1), r.ReturnCode, "what is there is finished")
	}
	require.Nil(t, h.next())
	require.True(t, <-h.ended)
}

func TestBrokenStream(t *testing.T) {
	t.Parallel()
	cause := make(chan error, 2)
	h := newTestHost(t, each("t.wait", func(ctx context.Context, b *BaseTask) error {
		err := untilCancelled(ctx, b)
		cause <- context.Cause(ctx)
		return err
	}))
	h.run(taskOf("t.wait", "a"), taskOf("t.wait", "b"))
	h.waitForLog("waiting")
	h.cancel()
	require.False(t, <-h.ended, "a task was cut short")
	require.ErrorIs(t, <-cause, ErrCancelled)
	require.Empty(t, cause, "the other task does not start")

	idle := newTestHost(t, Type[noop]("t.noop", ""))
	idle.run(taskOf("t.noop", "a"))
	idle.result()
	idle.cancel()
	require.True(t, <-idle.ended)
}

func TestSecondStreamIsRefused(t *testing.T) {
	t.Parallel()
	h := newTestHost(t, Type[noop]("t.noop", ""))
	h.run(taskOf("t.noop", "a")) // the first is open now
	h.result()
	second, err := h.client.Run(context.Background())
	require.NoError(t, err)
	_, err = second.Recv()
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
}

func TestAfterTheEnd(t *testing.T) {
	t.Parallel()
	var leaked *BaseTask
	h := newTestHost(t,
		each("t.leak", func(ctx context.Context, b *BaseTask) error {
			leaked = b
			return nil
		}),
		each("t.late", func(ctx context.Context, b *BaseTask) error {
			leaked.AddResponseLine("late")
			leaked.ChangeState(1)
			leaked.Progress(0.1, "late")
			leaked.LogInfo("late")
			if err := leaked.SetResult(1); err != nil {
				return err
			}
			_, err := leaked.Push(ctx, NewTask{Type: "t.noop"})
			if !errors.Is(err, errTaskEnded) || !errors.Is(context.Cause(&leaked.ctx), errTaskEnded) {
				return fmt.Errorf("push: %w", err)
			}
			return nil
		}))
	h.run(taskOf("t.leak", "a"), taskOf("t.late", "b"))
	h.result()
	r, before := h.result()
	require.Equal(t, int32(1), r.ReturnCode, "%v", r.Response)
	require.Len(t, before, 1, "only the log line")
	require.Empty(t, before[0].GetLog().Id)
	require.Equal(t, "late (by a goroutine of task a, which has ended)", before[0].GetLog().Message)
}

type undoable struct{ scripted }

func (u *undoable) DoJob(context.Context) (ReturnCode, error) {
	c, err := u.GetInt("code")
	return ReturnCode(c), err
}

func (u *undoable) Revert(context.Context) (*NewTask, error) {
	how, err := u.GetString("how", "")
	switch {
	case err != nil:
		return nil, err
	case how == "error":
		return nil, errors.New("too late")
	case how == "panic":
		panic("too late")
	case how == "nothing":
		return nil, nil
	case how == "bad":
		return &NewTask{Type: "not a type"}, nil
	}
	return &NewTask{Type: "t.undo", Params: map[string]any{"of": u.ID()}, Priority: 4, TimeLimit: time.Minute}, nil
}

func TestRevert(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, typ, params string
		revert            bool
		code              int32
		undo              string // the parameters of the undoing task
		failure           string
		also              string
	}{
		{"asked for", "t.undoable", `{}`, true, 1, `{"of":"a"}`, "", ""},
		{"nothing to undo", "t.undoable", `{"how":"nothing"}`, true, 1, "", "", ""},
		{"error", "t.undoable", `{"how":"error"}`, true, 3, "", "too late", ""},
		{"panic", "t.undoable", `{"how":"panic"}`, true, 3, "", "too late", ""},
		{"bad task", "t.undoable", `{"how":"bad"}`, true, 3, "", `task type "not a type": a name is 1 to 128 letters, digits, dots, underscores and dashes`, ""},
		{"not revertible", "t.noop", `{}`, true, 3, "", `parameters: a task of type "t.noop" cannot be undone: it has no Revert`, ""},
		{"succeeded", "t.undoable", `{"code":1}`, false, 1, "", "", ""},
		{"failed", "t.undoable", `{"code":3}`, false, 3, `{"of":"a"}`, "", ""},
		{"failed by an error", "t.undoable", `{}`, false, 3, `{"of":"a"}`, `parameter "code": not defined`, ""},
		{"failed, and the revert too", "t.undoable", `{"how":"panic"}`, false, 3, "", `parameter "code": not defined`, "revert: too late"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newTestHost(t, Type[undoable]("t.undoable", ""), Type[noop]("t.noop", ""))
			h.run(&pluginpb.Task{Id: "a", Type: c.typ, Params: []byte(c.params), Revert: c.revert})
			r, _ := h.result()
			require.Equal(t, c.code, r.ReturnCode)
			require.Equal(t, c.undo, string(r.GetUndo().GetParams()))
			if c.undo != "" {
				require.Equal(t, "t.undo", r.Undo.Type)
				require.Equal(t, int32(4), r.Undo.Priority)
				require.Equal(t, int64(time.Minute), r.Undo.TimeLimit)
			}
			require.Equal(t, c.failure, r.GetFailure().GetMessage())
			if c.also == "" {
				require.Empty(t, r.Also)
			} else {
				require.Len(t, r.Also, 1)
				require.Equal(t, c.also, r.Also[0].Message)
			}
			if c.revert {
				require.Empty(t, r.Meta, "the task itself does not run")
			}
		})
	}
}
