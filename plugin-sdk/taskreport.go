package sdk

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/backplane/leptir/internal/pluginpb"
)

// ReportError tells the host's error reporters of err, with the stack of who calls it, and
// has no effect on how the task ends. What DoJob returns, or panics with, is reported
// anyway. WithData adds key/values to err. Nil does nothing.
//
// A host takes only so many reports of one task (see docs/error-reporting.md); more are
// left out, and counted.
func (t *BaseTask) ReportError(err error) {
	if err == nil {
		return
	}
	f := failureOf(err)
	f.Permanent, f.RetryAfter = false, 0
	stack := make([]byte, MaxFailureBytes)
	f.Stack = text(string(stack[:runtime.Stack(stack, false)]), MaxFailureBytes)
	t.report(&pluginpb.Report{What: &pluginpb.Report_Error{Error: f}}, failureSize(f))
}

// ReportMessage tells the host's error reporters something that no error is behind. See
// ReportError.
func (t *BaseTask) ReportMessage(message string) {
	message = text(message, MaxFailureBytes)
	t.report(&pluginpb.Report{What: &pluginpb.Report_Message{Message: message}}, len(message))
}

// AddErrorData adds key/values to all later reports of the task: those that it makes
// itself, and those of its error, panic, crash or time-out. The values must be fit for
// JSON; what is not, or does not fit into MaxFailureBytes, is left out and reported.
func (t *BaseTask) AddErrorData(data map[string]any) {
	if len(data) == 0 {
		return
	}
	b, problems := encodeObject(data, MaxFailureBytes)
	if len(b) > len("{}") {
		t.report(&pluginpb.Report{What: &pluginpb.Report_Data{Data: b}}, len(b))
	}
	if problems != nil {
		t.ReportError(fmt.Errorf("add error data: %w", errors.Join(problems...)))
	}
}

// report sends r, of about size bytes, unless the task has ended.
func (t *BaseTask) report(r *pluginpb.Report, size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.out == nil || t.ended {
		return
	}
	r.Id = t.msg.GetId()
	t.out.putReport(r, 64+len(r.Id)+size)
}
