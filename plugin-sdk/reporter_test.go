package sdk

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/pluginpb"
)

// noted is an error reporter that notes its calls.
type noted struct {
	ErrorData
	exceptions []ErrorReport
	messages   []ErrorReport
	data       []map[string]any
	fail       error
	panics     bool
}

func (n *noted) ReportException(_ context.Context, r ErrorReport) error {
	if n.panics {
		panic("out of paper")
	}
	n.exceptions = append(n.exceptions, r)
	n.data = append(n.data, n.TakeErrorData())
	return n.fail
}

func (n *noted) ReportMessage(_ context.Context, r ErrorReport) error {
	n.messages = append(n.messages, r)
	return n.fail
}

func TestReporterCalls(t *testing.T) {
	t.Parallel()
	n := &noted{}
	s := &reporterService{reporter: n}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	full := &pluginpb.ErrorReport{Id: "r1", Time: at.UnixNano(), Kind: "crash", Message: "process died", Stack: "goroutine 1", TaskId: "t1",
		TaskType: "mail.send", Attempt: 2, Params: []byte(`{"to":"ann"}`), Data: []byte(`{"list":7}`), Host: "h", Plugin: "mail", Pid: 42,
		Exit: &pluginpb.ProcessExit{Reason: "signal", Signal: "SIGSEGV", PeakMemory: 1 << 20, Output: []string{"boom"}}, RetryAt: at.Add(time.Minute).UnixNano()}
	resp, err := s.Report(t.Context(), &pluginpb.ReportRequest{Calls: []*pluginpb.ReportCall{
		{Call: &pluginpb.ReportCall_Data{Data: []byte(`{"task_id":"t1"}`)}},
		{Call: &pluginpb.ReportCall_Data{Data: []byte(`{"list":7}`)}},
		{Call: &pluginpb.ReportCall_Exception{Exception: full}},
		{Call: &pluginpb.ReportCall_Message{Message: &pluginpb.ErrorReport{Message: "hello", Final: true}}},
		{},
	}})
	require.NoError(t, err)
	require.Len(t, resp.Failures, 1)
	require.EqualValues(t, 4, resp.Failures[0].Index)
	require.Contains(t, resp.Failures[0].Error, "does not know")
	require.Equal(t, []ErrorReport{{ID: "r1", Time: at, Kind: "crash", Message: "process died", Stack: "goroutine 1", TaskID: "t1", TaskType: "mail.send",
		Attempt: 2, Params: map[string]any{"to": "ann"}, Data: map[string]any{"list": 7.0}, Host: "h", Plugin: "mail", PID: 42,
		Exit: &ProcessExit{Reason: "signal", Signal: "SIGSEGV", PeakMemory: 1 << 20, Output: []string{"boom"}}, RetryAt: at.Add(time.Minute)}}, n.exceptions)
	require.Equal(t, []map[string]any{{"task_id": "t1", "list": 7.0}}, n.data)
	require.Equal(t, "hello", n.messages[0].Message)
	require.True(t, n.messages[0].Final)
	require.Nil(t, n.TakeErrorData(), "cleared")
}

func TestReporterFails(t *testing.T) {
	t.Parallel()
	n := &noted{fail: errors.New("no paper")}
	s := &reporterService{reporter: n}
	calls := []*pluginpb.ReportCall{
		{Call: &pluginpb.ReportCall_Exception{Exception: &pluginpb.ErrorReport{}}},
		{Call: &pluginpb.ReportCall_Message{Message: &pluginpb.ErrorReport{}}},
	}
	resp, err := s.Report(t.Context(), &pluginpb.ReportRequest{Calls: calls})
	require.NoError(t, err)
	require.Len(t, resp.Failures, 2)
	require.Equal(t, "no paper", resp.Failures[0].Error)

	n.fail, n.panics = nil, true
	resp, err = s.Report(t.Context(), &pluginpb.ReportRequest{Calls: calls})
	require.NoError(t, err)
	require.Len(t, resp.Failures, 1)
	require.Equal(t, "it panicked: out of paper", resp.Failures[0].Error)

	over, cancel := context.WithCancel(t.Context())
	cancel()
	resp, err = s.Report(over, &pluginpb.ReportRequest{Calls: calls})
	require.NoError(t, err)
	require.Len(t, resp.Failures, 2, "nobody waits for them")
}

func TestReporterAlone(t *testing.T) {
	t.Parallel()
	p := &Plugin{Name: "pager", Version: "1", ErrorReporter: &noted{}}
	require.NoError(t, p.check())
	require.True(t, p.describe().ErrorReporter)
	require.ErrorContains(t, (&Plugin{Name: "nothing"}).check(), "serves no task type")

	var out, errs bytes.Buffer
	require.Zero(t, runByHand(p, []string{"/opt/pager-1.bin"}, &out, &errs))
	require.Equal(t, `pager-1.bin is a plugin for leptir (pager 1). It is started by a leptir host, not by hand.

It is an error reporter.

To use it, put this file into the plugin_dir of a host's leptir.hcl; the host finds it there.
To have errors reported by it, add to leptir.hcl:
  error_reporting "plugin" "pager-1" {
    plugin = "pager-1"
  }

  -describe   print the above as JSON
`, out.String())
	out.Reset()
	require.Zero(t, runByHand(p, []string{"pager", "-describe"}, &out, &errs))
	require.Contains(t, out.String(), `"error_reporter": true`)
}

func TestTaskReports(t *testing.T) {
	t.Parallel()
	var leftover *BaseTask
	typ := Func("t.report", "", func(_ context.Context, b *BaseTask, _ struct{}) error {
		leftover = b
		b.AddErrorData(map[string]any{"list": 7, "bad": func() {}})
		b.ReportMessage("half way")
		b.ReportError(Permanent(WithData(errors.New("odd"), map[string]any{"n": 1})))
		b.ReportError(nil)
		b.AddErrorData(nil)
		return nil
	})
	out := Try(t.Context(), typ, nil)
	require.Equal(t, Success, out.Code, "a report does not decide how a task ends")
	require.Len(t, out.Reports, 4)
	require.Equal(t, map[string]any{"list": 7.0}, out.Reports[0].Data)
	require.Contains(t, out.Reports[1].Failure.Message, `add error data: "bad" left out`)
	require.Equal(t, "half way", out.Reports[2].Message)
	f := out.Reports[3].Failure
	require.Equal(t, "odd", f.Message)
	require.Equal(t, "error", f.Kind)
	require.Equal(t, map[string]any{"n": 1.0}, f.Data)
	require.Contains(t, f.Stack, "TestTaskReports", "the stack of who reports")
	require.False(t, f.Permanent)

	leftover.ReportMessage("too late")
	leftover.ReportError(errors.New("too late"))
	(&BaseTask{}).ReportMessage("nobody listens") // nor panics
}

// A task that reports without end takes no memory without end.
func TestTaskReportsAreBounded(t *testing.T) {
	t.Parallel()
	o := newOutbox(nil)
	b := &BaseTask{msg: taskOf("t", "1"), out: o}
	for range 1000 {
		b.ReportMessage(string(bytes.Repeat([]byte("x"), MaxFailureBytes)))
	}
	require.LessOrEqual(t, o.bytes, MaxWaitingLogBytes)
	require.Greater(t, o.dropped, 900)
	o.close()
	var reports, told int
	require.NoError(t, o.sendAll(func(m *pluginpb.PluginMessage) error {
		for _, e := range m.Events {
			if e.GetReport() != nil {
				reports++
			}
			if e.GetLog() != nil {
				told++
				require.Contains(t, e.GetLog().Message, "log lines dropped, error reports included")
			}
		}
		return nil
	}))
	require.Positive(t, reports)
	require.Equal(t, 1, told)
	require.Zero(t, o.logBytes, "what was taken makes room")
}
