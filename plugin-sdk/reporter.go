package sdk

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/backplane/leptir/internal/pluginpb"
)

// An ErrorReporter brings what goes wrong on a host to wherever its author likes: every
// error and exception of every task, of all plugins, and what the host itself has to
// report. It is served by ServeReporter, or beside tasks by Plugin.ErrorReporter, in a
// process of its own; a host uses it if its configuration says so.
//
// The methods are called one after the other, and have as long as ctx says: a process that
// does not return from one is killed and started again. A report is lost if its method
// returns an error or panics, which the host counts and logs. It may come twice, with one
// ID, if the process dies before it has answered.
type ErrorReporter interface {
	// ReportException is told of an error, a panic, a crash or a time-out.
	ReportException(ctx context.Context, r ErrorReport) error
	// ReportMessage is told of something that no exception is behind.
	ReportMessage(ctx context.Context, r ErrorReport) error
	// AddErrorData is told key/values that belong to the report that comes next, such as
	// "task_id" and "task_type". They stay until the implementation clears them; embed
	// ErrorData to have that done.
	AddErrorData(ctx context.Context, data map[string]any) error
}

// An ErrorReport is what a host has to report.
type ErrorReport struct {
	ID      string // the report's own
	Time    time.Time
	Kind    string // "error", "panic", "goexit", "input", "timeout", "crash", "task", "dead letter", "unreadable", "unserved", "plugin"
	Message string
	Stack   string // empty: there is none

	// What follows is about the task; zero where the report is about none.
	TaskID   string
	TaskType string
	Attempt  int            // from 1
	Params   map[string]any // its parameters, secrets taken out by their keys
	Data     map[string]any // key/values that came with the error, and what the task has added
	Final    bool           // the task has failed for good
	RetryAt  time.Time      // when it is tried again; zero: not, or the report does not decide it

	Host   string
	Plugin string // empty: none was involved
	PID    int    // of the plugin's process
	Exit   *ProcessExit
}

// A ProcessExit is how a process ended in which a task ran.
type ProcessExit struct {
	Reason     string // "timeout", "memory", "signal", "exit code", ...
	Code       int    // where it exited
	Signal     string // where a signal ended it, for example "SIGSEGV"
	PeakMemory int64  // bytes
	Output     []string
}

// ErrorData keeps what AddErrorData is told, for an ErrorReporter that embeds it. It is
// safe for concurrent use.
type ErrorData struct {
	mu   sync.Mutex
	data map[string]any
}

// AddErrorData keeps data, beside what was kept before.
func (d *ErrorData) AddErrorData(_ context.Context, data map[string]any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.data == nil {
		d.data = map[string]any{}
	}
	maps.Copy(d.data, data)
	return nil
}

// TakeErrorData returns what has been kept, and clears it.
func (d *ErrorData) TakeErrorData() map[string]any {
	d.mu.Lock()
	defer d.mu.Unlock()
	data := d.data
	d.data = nil
	return data
}

// ServeReporter is Serve for a plugin of that name that is an error reporter and has no
// tasks.
func ServeReporter(name string, r ErrorReporter) { Serve(Plugin{Name: name, ErrorReporter: r}) }

// reporterService answers the calls of plugin.proto's ErrorReporter.
type reporterService struct {
	pluginpb.UnimplementedErrorReporterServer
	mu       sync.Mutex // one call at a time
	reporter ErrorReporter
}

func (s *reporterService) Report(ctx context.Context, req *pluginpb.ReportRequest) (*pluginpb.ReportResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &pluginpb.ReportResponse{}
	for i, c := range req.Calls {
		if err := s.call(ctx, c); err != nil {
			resp.Failures = append(resp.Failures, &pluginpb.CallFailure{Index: int32(i), Error: text(fmt.Sprint(err), maxProgressBytes)})
		}
	}
	return resp, nil
}

// call makes one call. A panic is an error.
func (s *reporterService) call(ctx context.Context, c *pluginpb.ReportCall) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it panicked: %v", p)
		}
	}()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch c := c.Call.(type) {
	case *pluginpb.ReportCall_Exception:
		return s.reporter.ReportException(ctx, newErrorReport(c.Exception))
	case *pluginpb.ReportCall_Message:
		return s.reporter.ReportMessage(ctx, newErrorReport(c.Message))
	case *pluginpb.ReportCall_Data:
		return s.reporter.AddErrorData(ctx, decodeObject(c.Data))
	}
	return fmt.Errorf("the host makes a call that this SDK (%s) does not know", Version)
}

func newErrorReport(m *pluginpb.ErrorReport) ErrorReport {
	r := ErrorReport{ID: m.Id, Time: time.Unix(0, m.Time).UTC(), Kind: m.Kind, Message: m.Message, Stack: m.Stack,
		TaskID: m.TaskId, TaskType: m.TaskType, Attempt: int(m.Attempt), Params: decodeObject(m.Params), Data: decodeObject(m.Data),
		Host: m.Host, Plugin: m.Plugin, PID: int(m.Pid), Final: m.Final}
	if m.RetryAt != 0 {
		r.RetryAt = time.Unix(0, m.RetryAt).UTC()
	}
	if e := m.Exit; e != nil {
		r.Exit = &ProcessExit{Reason: e.Reason, Code: int(e.Code), Signal: e.Signal, PeakMemory: e.PeakMemory, Output: e.Output}
	}
	return r
}
