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

// take deals with a message of the plugin, up to the first event that breaks a rule.
func (w *worker) take(m *pluginpb.PluginMessage, now time.Time) event {
	ev := event{worker: w}
	results := 0
	for _, e := range m.GetEvents() {
		if e.GetResult() != nil {
			results++
		}
	}
	if results > 0 { // of a hostile plugin there can be more than its window holds
		ev.outcomes = make([]Outcome, 0, min(results, windowMax))
	}
	for _, e := range m.GetEvents() {
		if problem := w.handle(&ev, e, now); problem != "" {
			w.proc.Kill(process.ReasonProtocol, problem)
			break
		}
	}
	if n := len(ev.outcomes); n > 0 {
		w.proc.Received(ev.outcomes[n-1].Job.seq)
		w.mu.Lock()
		w.endDoomed(now)
		w.arm(now)
		w.mu.Unlock()
	}
	return ev
}

// handle deals with one event of the plugin, an untrusted process. It returns what rule
// the event breaks, or "".
func (w *worker) handle(ev *event, e *pluginpb.Event, now time.Time) (problem string) {
	switch k := e.GetKind().(type) {
	case *pluginpb.Event_Result:
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.ended(ev, k.Result, now)
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

// ended takes the result of the head of the window. It returns what is wrong with it, or "".
// w.mu is held.
func (w *worker) ended(ev *event, r *pluginpb.Result, now time.Time) (problem string) {
	if len(w.window) == 0 {
		return fmt.Sprintf("it answered task %.128q, which it was not running", r.GetId())
	}
	j := w.window[0]
	if r.GetId() != string(j.Task.ID) {
		return fmt.Sprintf("it answered task %.128q while it was running %q", r.GetId(), j.Task.ID)
	}
	w.window[0] = nil
	w.window = w.window[1:]
	// A result can have waited for others to go with it. When its task ended the plugin alone
	// knows, within the time since the one before ended.
	started, end := w.headSince, now
	if at := r.GetStarted() + r.GetDuration(); r.GetStarted() > 0 && at > 0 && at < now.UnixNano() {
		end = now.Add(-time.Duration(now.UnixNano() - at))
		if end.Before(started) {
			end = started
		}
	}
	w.headSince = end
	ev.outcomes = append(ev.outcomes, Outcome{Job: j, Kind: Ended, Plugin: w.plugin, PID: w.proc.PID(),
		Started: started, Duration: max(0, end.Sub(started)), Result: r, Dump: j.dump})
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
