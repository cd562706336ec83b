package dispatch

import (
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/cancel"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

const (
	// maxAlso bounds the failures beside a result that are reported.
	maxAlso = 10
	// A task may report reportBurst times at once, and once every reportEvery.
	reportBurst = 20
	reportEvery = time.Second
	// maxErrorData bounds the key/values that a task adds to its reports, in bytes.
	maxErrorData = 64 << 10
	// unservedEvery is how often it is reported that tasks of a type wait for a plugin.
	unservedEvery = time.Hour
)

// ErrorReporter is told of what goes wrong; *report.Hub is one. Report must not block.
type ErrorReporter interface {
	Report(r report.Report)
}

// report hands a report to the error reporters, if there are any.
func (d *Dispatcher) report(r report.Report) {
	if d.o.Reports != nil {
		d.o.Reports.Report(r)
	}
}

// errorData is what a running task has added to its reports, and how often it has reported.
// The zero value is ready for use.
type errorData struct {
	mu      sync.Mutex
	data    map[string]json.RawMessage
	bytes   int
	reports int
	first   time.Time // of the reports
	leftOut int       // reports that came too fast
}

// add keeps key/values, a JSON object from an untrusted process, as far as there is room.
func (e *errorData) add(raw []byte) {
	if len(raw) > maxErrorData {
		return
	}
	var more map[string]json.RawMessage
	if json.Unmarshal(raw, &more) != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.data == nil {
		e.data = map[string]json.RawMessage{}
	}
	for key, value := range more {
		if old, ok := e.data[key]; ok {
			e.bytes -= len(key) + len(old)
			delete(e.data, key)
		}
		if n := len(key) + len(value); e.bytes+n <= maxErrorData {
			e.data[key] = value
			e.bytes += n
		}
	}
}

// with returns the key/values that have been added, and those of the report itself, which
// win.
func (e *errorData) with(own []byte) json.RawMessage {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.data) == 0 {
		return own
	}
	all := maps.Clone(e.data)
	var more map[string]json.RawMessage
	if len(own) <= maxErrorData && json.Unmarshal(own, &more) == nil {
		maps.Copy(all, more)
	}
	b, err := json.Marshal(all)
	if err != nil {
		return own
	}
	return b
}

// admit reports whether the task may report now.
func (e *errorData) admit(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reports == 0 {
		e.first = now
	}
	if e.reports >= reportBurst+int(now.Sub(e.first)/reportEvery) {
		e.leftOut++
		return false
	}
	e.reports++
	return true
}

// tooMany returns how many reports came too fast.
func (e *errorData) tooMany() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leftOut
}

// report returns a report about the delivery's task.
func (dv *delivery) report(kind, message string) report.Report {
	return report.Report{Kind: kind, Message: message, Task: &report.Task{ID: dv.Task.ID, Type: dv.Task.Type,
		Attempt: dv.Attempt, Params: dv.Task.Params}}
}

// reportOutcome reports how a run failed, if it did, and what failed beside it.
func (d *Dispatcher) reportOutcome(o *pool.Outcome, dv *delivery, rec *task.Record, st brokers.Settlement) {
	if n := dv.errors.tooMany(); n > 0 {
		d.o.Logger.Warn("the task has reported too much to the error reporters; some was left out", "task", dv.Task.ID, "type", dv.Task.Type, "left_out", n)
	}
	if rec.Run.Ended.IsZero() || cancel.Was(*rec) {
		return // it has not run to its end, or somebody has wanted it so
	}
	send := func(r report.Report) {
		r.Plugin, r.PID = o.Plugin, o.PID
		d.report(r)
	}
	if rec.RetC.Failed() {
		r := dv.report(failureKind(o, rec), rec.Run.Error)
		r.Exception = true
		if r.Message == "" {
			r.Message = "the task returned " + rec.RetC.String()
		}
		r.Stack, r.Exit = rec.Run.Stack, rec.Run.Exit
		r.Data = dv.errors.with(o.Result.GetFailure().GetData())
		if r.Kind == report.KindTimeout {
			var about errorData
			about.add(r.Data)
			own, _ := json.Marshal(map[string]string{"task_id": string(dv.Task.ID), "task_type": dv.Task.Type, "time_limit": o.Job.Limit.String()})
			r.Data = about.with(own)
		}
		if st.Verdict == brokers.Retry {
			r.RetryAt = st.At
		} else {
			r.Final = true
		}
		send(r)
	}
	if o.Kind != pool.Ended {
		return
	}
	also := o.Result.GetAlso()
	for _, f := range also[:min(len(also), maxAlso)] {
		r := dv.report(pluginKind(f.GetKind()), clip(f.GetMessage(), maxError))
		r.Exception, r.Stack, r.Data = true, clip(f.GetStack(), maxStack), dv.errors.with(f.GetData())
		send(r)
	}
	if rec.Run.Note != "" {
		send(dv.report(report.KindTask, rec.Run.Note))
	}
}

// failureKind says in a word how a run failed.
func failureKind(o *pool.Outcome, rec *task.Record) string {
	switch {
	case rec.RetC == task.TimeLimitExceeded:
		return report.KindTimeout
	case o.Kind == pool.Died:
		return report.KindCrash
	}
	return pluginKind(o.Result.GetFailure().GetKind())
}

// pluginKind returns a kind that a plugin tells, if it is one of a failure.
func pluginKind(kind string) string {
	switch kind {
	case report.KindPanic, report.KindGoexit, report.KindInput:
		return kind
	}
	return report.KindError
}

// reportDeadLetter reports a task that goes to the dead letters without having run here.
func (d *Dispatcher) reportDeadLetter(dv *delivery, kind, reason string) {
	r := dv.report(kind, reason)
	r.Final = true
	r.Exception = kind == report.KindInput
	d.report(r)
}

// reportUnserved reports, once in a while for each type, that tasks wait for a plugin.
func (d *Dispatcher) reportUnserved(t *task.Task, reason string, now time.Time) {
	d.mu.Lock()
	if d.reported == nil || len(d.reported) > 10000 { // types are the producers' to choose
		d.reported = map[string]time.Time{}
	}
	last, ok := d.reported[t.Type]
	due := !ok || now.Sub(last) >= unservedEvery
	if due {
		d.reported[t.Type] = now
	}
	d.mu.Unlock()
	if due {
		d.report(report.Report{Kind: report.KindUnserved, Message: fmt.Sprintf("tasks of type %q wait for their plugin: %s", t.Type, reason),
			Task: &report.Task{ID: t.ID, Type: t.Type}})
	}
}

// Report takes in what a running task wants to have reported. It implements
// pool.ReportObserver.
func (o *Observer) Report(job *pool.Job, plugin string, pid int, m *pluginpb.Report) {
	dv, ok := job.Tag.(*delivery)
	if !ok {
		return // a task that is only asked what would undo it
	}
	if data, ok := m.GetWhat().(*pluginpb.Report_Data); ok {
		dv.errors.add(data.Data)
		return
	}
	if !dv.errors.admit(time.Now()) {
		return
	}
	r := dv.report(report.KindTask, clip(m.GetMessage(), maxError))
	r.Plugin, r.PID = plugin, pid
	var own []byte
	if f := m.GetError(); f != nil {
		r.Kind, r.Exception, r.Message, r.Stack, own = pluginKind(f.GetKind()), true, clip(f.GetMessage(), maxError), clip(f.GetStack(), maxStack), f.GetData()
	}
	r.Data = dv.errors.with(own)
	dv.source.d.report(r)
}
