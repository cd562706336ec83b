package plugin

import (
	"encoding/json"

	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/internal/pluginpb"
)

// callsOf returns the calls for one report: the data that belong to it, then the report.
func callsOf(rep *report.Report) []*pluginpb.ReportCall {
	m := &pluginpb.ErrorReport{Id: rep.ID, Time: rep.Time.UnixNano(), Kind: rep.Kind, Message: rep.Message, Stack: rep.Stack,
		Data: rep.Data, Host: rep.Host, Plugin: rep.Plugin, Pid: int32(rep.PID), Final: rep.Final}
	if !rep.RetryAt.IsZero() {
		m.RetryAt = rep.RetryAt.UnixNano()
	}
	if t := rep.Task; t != nil {
		m.TaskId, m.TaskType, m.Attempt, m.Params = string(t.ID), t.Type, int32(t.Attempt), t.Params
	}
	if e := rep.Exit; e != nil {
		m.Exit = &pluginpb.ProcessExit{Reason: e.Reason, Code: int32(e.Code), Signal: e.Signal, PeakMemory: e.PeakMemory, Output: e.Stderr}
	}
	var calls []*pluginpb.ReportCall
	if data := dataOf(rep); data != nil {
		calls = append(calls, &pluginpb.ReportCall{Call: &pluginpb.ReportCall_Data{Data: data}})
	}
	if rep.Exception {
		return append(calls, &pluginpb.ReportCall{Call: &pluginpb.ReportCall_Exception{Exception: m}})
	}
	return append(calls, &pluginpb.ReportCall{Call: &pluginpb.ReportCall_Message{Message: m}})
}

// dataOf returns the key/values of a report: those that came with it, and which task it is
// about, which nothing overrides. Nil: none.
func dataOf(rep *report.Report) []byte {
	data := map[string]json.RawMessage{}
	if len(rep.Data) > 0 {
		_ = json.Unmarshal(rep.Data, &data) // it has been read before
	}
	add := func(key string, value any) {
		if b, err := json.Marshal(value); err == nil { // texts and numbers always can be
			data[key] = b
		}
	}
	if t := rep.Task; t != nil {
		add("task_id", t.ID)
		add("task_type", t.Type)
		if t.Attempt > 0 {
			add("attempt", t.Attempt)
		}
	}
	if len(data) == 0 {
		return nil
	}
	b, err := json.Marshal(data)
	if err != nil {
		return nil
	}
	return b
}
