package pool

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/pluginpb"
)

// receiveLoop listens to the plugin until its stream ends.
func (w *worker) receiveLoop() {
	var talk patience
	for {
		m, err := w.proc.Recv()
		if err != nil {
			w.end()
			return
		}
		talk.heed(m)
		if ev := w.take(m, time.Now()); len(ev.outcomes) > 0 || ev.recalled {
			w.pool.events <- ev
		}
	}
}

// reading is a message that is being taken in, and what the pool is to hear of it.
type reading struct {
	event
	since   time.Time // when the first of the tasks began whose results are still to be read
	results int       // how many results those are
}

// take deals with a message of the plugin, up to the first event that breaks a rule.
func (w *worker) take(m *pluginpb.PluginMessage, now time.Time) event {
	ev := reading{event: event{worker: w}}
	for _, e := range m.GetEvents() {
		if e.GetResult() != nil {
			ev.results++
		}
	}
	if ev.results > 0 { // of a hostile plugin there can be more than its window holds
		ev.outcomes = make([]Outcome, 0, min(ev.results, windowMax))
		w.mu.Lock()
		ev.since = w.headSince
		w.mu.Unlock()
	}
	for _, e := range m.GetEvents() {
		if problem := w.handle(&ev, e, now); problem != "" {
			w.proc.Kill(process.ReasonProtocol, problem)
			break
		}
	}
	if len(ev.outcomes) > 0 {
		w.mu.Lock()
		w.arm(now)
		w.mu.Unlock()
	}
	return ev.event
}

// handle deals with one event of the plugin, an untrusted process. It returns what rule
// the event breaks, or "".
func (w *worker) handle(ev *reading, e *pluginpb.Event, now time.Time) (problem string) {
	switch k := e.GetKind().(type) {
	case *pluginpb.Event_Result:
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.window) == 0 {
			return fmt.Sprintf("it answered task %.128q, which it was not running", k.Result.GetId())
		}
		j := w.window[0]
		if k.Result.GetId() != string(j.Task.ID) {
			return fmt.Sprintf("it answered task %.128q while it was running %q", k.Result.GetId(), j.Task.ID)
		}
		w.window[0] = nil
		w.window = w.window[1:]
		if len(w.window) > 0 && w.window[0].doomed {
			w.proc.Kill(w.window[0].reason, w.window[0].detail)
		}
		// Of results that come together the plugin alone knows when each began and ended, within
		// the time that all of them took. The last one's end is now, as far as the host knows.
		started, took := ev.since, max(0, now.Sub(ev.since))
		if ev.results--; ev.results > 0 {
			if d := time.Duration(k.Result.GetDuration()); d > 0 && d < took {
				took = d
			}
		}
		ev.since = started.Add(took)
		w.headSince = now
		ev.outcomes = append(ev.outcomes, Outcome{Job: j, Kind: Ended, Plugin: w.plugin, PID: w.proc.PID(),
			Started: started, Duration: took, Result: k.Result, Dump: j.dump})
	case *pluginpb.Event_Recalled:
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.recalled {
			return "it gave tasks back that nobody asked for"
		}
		w.recalled, ev.recalled = false, true
		// What was not begun is a tail of the window.
		n := len(w.window) - len(k.Recalled.GetIds())
		if n < 0 {
			return "it gave back more tasks than it had"
		}
		for i, id := range k.Recalled.GetIds() {
			if string(w.window[n+i].Task.ID) != id {
				return fmt.Sprintf("it gave back task %.128q out of order", id)
			}
		}
		ev.requeue = append(ev.requeue, w.window[n:]...)
		w.window = w.window[:n:n]
		// Those tasks will not be begun, so the numbering goes back with them.
		w.sentCount -= uint64(len(k.Recalled.GetIds()))
	case *pluginpb.Event_Log:
		w.log(w.running(k.Log.GetId()), k.Log, now)
	case *pluginpb.Event_State:
		if j := w.running(k.State.GetId()); j != nil {
			w.pool.observer.State(j, k.State)
		}
	case *pluginpb.Event_Progress:
		if j := w.running(k.Progress.GetId()); j != nil {
			w.pool.observer.Progress(j, k.Progress)
		}
	case *pluginpb.Event_Report:
		if o, ok := w.pool.observer.(ReportObserver); ok {
			if j := w.running(k.Report.GetId()); j != nil {
				o.Report(j, w.plugin, w.proc.PID(), k.Report)
			}
		}
	case *pluginpb.Event_Push:
		seq := k.Push.GetSeq()
		j := w.running(k.Push.GetId())
		if j == nil {
			w.answer(&pluginpb.PushReply{Seq: seq, Error: "only a running task can push"})
			return ""
		}
		w.pool.observer.Push(j, k.Push, func(r *pluginpb.PushReply) {
			r.Seq = seq
			w.answer(r)
		})
	case *pluginpb.Event_Dump:
		if j := w.running(k.Dump.GetId()); j != nil {
			text := k.Dump.GetText()
			w.mu.Lock()
			j.dump = string(text[:min(len(text), maxDump)])
			w.mu.Unlock()
		}
	}
	return ""
}

// log passes a task's line on to the host's log, as far as the process may fill that.
func (w *worker) log(j *Job, l *pluginpb.Log, now time.Time) {
	if !w.pool.observer.Logs(l.GetLevel()) || !w.logRate.Allow(len(l.GetMessage())+len(l.GetAttrs()), now) {
		return
	}
	w.tellSuppressed(now)
	w.pool.observer.Log(w.plugin, w.proc.PID(), j, l)
}

// tellSuppressed logs how many lines have been suppressed since it was last told.
func (w *worker) tellSuppressed(now time.Time) {
	if notice := w.logRate.Notice(); notice != "" {
		w.logRate.Told()
		w.pool.observer.Log(w.plugin, w.proc.PID(), nil,
			&pluginpb.Log{Time: now.UnixNano(), Level: int32(slog.LevelWarn), Message: "log calls of tasks: " + notice})
	}
}

// running returns the job of that id if the process may be running it. With windows the
// plugin can be ahead of the results that have arrived, so any job of the window will do.
func (w *worker) running(id string) *Job {
	if id == "" {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, j := range w.window {
		if string(j.Task.ID) == id {
			return j
		}
	}
	return nil
}
