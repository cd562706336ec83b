package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/cancel"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

const (
	// What a plugin says about its task goes into the record as far as this.
	maxResponse = 1 << 20 // bytes of respM
	maxError    = 16 << 10
	maxStack    = 64 << 10
	maxMeta     = 1 << 20
	maxResult   = 1 << 20
	maxStates   = 1000
	// maxReason bounds the reason of a settlement, which brokers keep.
	maxReason = 2 << 10
)

const (
	// gatherFor is the least time between two lots of outcomes while they are of less than
	// gatherEnough tasks: to record and to settle each short task by itself costs more than the
	// task. After a quiet moment the first goes at once, and no worker waits for it.
	gatherFor    = 2 * time.Millisecond
	gatherEnough = 32
)

// receive turns outcomes into records and settlements until the pool is closed.
func (d *Dispatcher) receive() {
	for outcomes := range d.o.Pool.Outcomes() {
		d.ended(outcomes)
		if len(outcomes) < gatherEnough {
			time.Sleep(gatherFor)
		}
	}
}

// ended records and settles what has become of jobs.
func (d *Dispatcher) ended(outcomes []pool.Outcome) {
	d.inPool.Add(-int64(len(outcomes)))
	now := time.Now()
	records := make([]task.Record, 0, len(outcomes))
	settlements := map[*source][]brokers.Settlement{}
	for i := range outcomes {
		o := &outcomes[i]
		if u, ok := o.Job.Tag.(*undoing); ok {
			d.reverted(u, o, now)
			continue
		}
		dv := o.Job.Tag.(*delivery)
		if !dv.source.stillOurs(dv, now) {
			// Whoever has it now records and settles it.
			dv.source.forget([]brokers.Settlement{{ID: dv.Task.ID, Token: dv.Token}})
			continue
		}
		// A record is made where it stays: it is large, and one is made for every task.
		records = append(records, task.Record{})
		rec := &records[len(records)-1]
		st, recorded := d.conclude(o, dv, now, rec)
		d.reportOutcome(o, dv, rec, st)
		undone := d.toBeUndone(dv, st) && d.undo(dv, rec, st, o)
		if undone || !recorded {
			records = records[:len(records)-1]
		}
		if undone {
			continue
		}
		settlements[dv.source] = append(settlements[dv.source], st)
	}
	d.finish(records, settlements)
}

// finish records, then settles: in this order, so that a host that dies between the two
// leaves a task that is settled by its record, not one that has vanished.
func (d *Dispatcher) finish(records []task.Record, settlements map[*source][]brokers.Settlement) {
	for i := range records {
		if !records[i].Run.Ended.IsZero() {
			d.o.Meter.Ended(&records[i])
		}
	}
	d.stores.put(records, func(ok bool) {
		for s, batch := range settlements {
			if ok {
				s.settlements.put(batch...)
				continue
			}
			// The host ends with the record unwritten: the leases end by themselves.
			s.forget(batch)
		}
	})
}

// conclude decides what becomes of a task, and fills in its record if it has a new one.
func (d *Dispatcher) conclude(o *pool.Outcome, dv *delivery, now time.Time, rec *task.Record) (st brokers.Settlement, recorded bool) {
	st = brokers.Settlement{ID: dv.Task.ID, Token: dv.Token, Verdict: brokers.Release}
	if c := dv.cancellation(); c != nil {
		if st, cancelled := d.concludeCancelled(o, dv, c, now, rec); cancelled {
			return st, true
		}
	}
	switch {
	case o.Kind == pool.Returned:
		return st, d.givenBack(dv, "given back by host "+d.o.Host+" without having run", rec)
	case o.Kind == pool.Unserved:
		st.At, st.Reason = dv.source.dueAt(d.parkUntil(&dv.Task, o.Reason, now)), clip(o.Reason, maxReason)
		d.reportUnserved(&dv.Task, st.Reason, now)
		return st, d.givenBack(dv, st.Reason, rec)
	case o.Kind == pool.Died && o.Exit.Reason == process.ReasonShutdown:
		d.record(o, dv, rec)
		rec.Status, rec.RetC, rec.RespM = task.Pending, 0, ""
		rec.Run.Note = "interrupted by the shutdown of host " + d.o.Host + "; the attempt does not count"
		return st, true
	}

	d.record(o, dv, rec)
	rec.Run.Ended = now.UTC()
	var failure *pluginpb.Failure
	if o.Kind == pool.Ended {
		failure = o.Result.GetFailure()
	}
	if !rec.RetC.Failed() {
		st.Verdict = brokers.Done
		return st, true
	}
	st.Reason = clip(rec.Run.Error, maxReason)
	if st.Reason == "" {
		st.Reason = rec.RetC.String()
	}
	count(&rec.Run.Failures, o, rec.RetC)
	enough := d.tooManyCrashes(rec.Run.Failures)
	if retry := d.retry(&dv.Task); dv.Attempt < retry.MaxAttempts && !failure.GetPermanent() && enough == "" {
		wait := retry.Backoff(dv.Attempt)
		if after := failure.GetRetryAfter(); after > 0 {
			wait = time.Duration(after)
		}
		at := now.Add(wait)
		st.Verdict, st.At = brokers.Retry, dv.source.dueAt(at)
		rec.Status, rec.Run.Retry = task.Pending, at.UTC()
		return st, true
	}
	st.Verdict = brokers.Bury
	if enough != "" && dv.Attempt > 1 {
		st.Reason = clip(enough+": "+st.Reason, maxReason)
	}
	return st, true
}

// givenBack takes back what examine has written: that the task runs. Whoever has it next
// would take this host for lost else. It reports false if there is nothing to take back.
func (d *Dispatcher) givenBack(dv *delivery, note string, rec *task.Record) bool {
	if !dv.announced {
		return false
	}
	*rec = task.Record{ID: dv.Task.ID, Type: dv.Task.Type, Status: task.Pending, Run: dv.run(d.o.Host)}
	rec.Run.Note = note
	return true
}

// run returns what a record says of every run of the delivery.
func (dv *delivery) run(host string) task.Run {
	return task.Run{Attempt: dv.Attempt, Delivery: dv.order(), Failures: dv.failures, Host: host, Undoes: dv.Task.Undoes}
}

// record fills in the record of a run.
func (d *Dispatcher) record(o *pool.Outcome, dv *delivery, rec *task.Record) {
	fill(rec, o, d.o.Host)
	rec.Run.Delivery, rec.Run.Failures = dv.order(), dv.failures
	progress, states := dv.told.last()
	rec.Run.Progress = progress
	if o.Kind == pool.Died {
		rec.Run.States = states // else its result has them
	}
}

// RecordOf makes the record of a run on the named host, of an outcome that is Ended or
// Died. What only a broker's delivery knows is left at zero, and so are the ends of the
// attempt and of the wait for the next.
func RecordOf(o *pool.Outcome, host string) (rec task.Record) {
	fill(&rec, o, host)
	return rec
}

func fill(rec *task.Record, o *pool.Outcome, host string) {
	t := &o.Job.Task
	*rec = task.Record{ID: t.ID, Type: t.Type, Status: task.Completed,
		ExStart: o.Started.UTC(), ExTime: o.Duration.Seconds(),
		Run: task.Run{Attempt: o.Job.Attempt, Host: host, Process: o.PID, Plugin: o.Plugin, Undoes: t.Undoes}}
	if o.Kind == pool.Ended {
		recordResult(rec, o)
		return
	}
	rec.RetC = task.Error
	rec.RespM = o.Exit.String()
	if o.Exit.Reason == process.ReasonTimeout {
		rec.RetC = task.TimeLimitExceeded
		rec.RespM = fmt.Sprintf("time limit of %v exceeded", o.Job.Limit)
	}
	rec.Run.Error = rec.RespM
	rec.Run.Stack = clip(o.Dump, maxStack)
	rec.Run.Exit = &task.Exit{Reason: string(o.Exit.Reason), Code: max(0, o.Exit.Code), PeakMemory: o.Exit.PeakMemory,
		CPUSeconds: o.Exit.CPU.Seconds(), Stderr: o.Exit.Output}
	if o.Exit.Signal != 0 {
		rec.Run.Exit.Signal = process.SignalName(o.Exit.Signal)
	}
}

// recordResult takes in what the plugin says, as far as it can be believed.
func recordResult(rec *task.Record, o *pool.Outcome) {
	r := o.Result
	rec.RetC = task.ReturnCode(r.GetReturnCode())
	if !rec.RetC.Valid() {
		rec.RetC = task.Unknown
	}
	rec.RespM = clip(strings.Join(r.GetResponse(), " "), maxResponse)
	// The plugin knows its run to the microsecond; the host knows what is possible.
	if took := time.Duration(r.GetDuration()); took >= 0 && took <= o.Duration {
		rec.ExTime = took.Seconds()
	}
	if at := time.Unix(0, r.GetStarted()); r.GetStarted() > 0 && !at.Before(o.Started.Add(-time.Second)) && at.Before(o.Started.Add(o.Duration+time.Second)) {
		rec.ExStart = at.UTC()
	}
	states := r.GetStates()
	for _, s := range states[:min(len(states), maxStates)] {
		rec.Run.States = append(rec.Run.States, int(s))
	}
	if meta := r.GetMeta(); len(meta) > 0 {
		if len(meta) > maxMeta {
			note(rec, fmt.Sprintf("additional meta info left out: %d bytes, at most %d are kept", len(meta), maxMeta))
		} else if err := json.Unmarshal(meta, &rec.Meta); err != nil {
			rec.Meta = nil
			note(rec, "additional meta info left out: it is not a JSON object")
		}
	}
	if value := r.GetValue(); len(value) > maxResult {
		note(rec, fmt.Sprintf("result value left out: %d bytes, at most %d are kept", len(value), maxResult))
	} else if len(value) > 0 && !json.Valid(value) {
		note(rec, "result value left out: it is not JSON")
	} else if len(value) > 0 {
		rec.Run.Result = value
	}
	if f := r.GetFailure(); f != nil {
		rec.Run.Error, rec.Run.Stack = clip(f.GetMessage(), maxError), clip(f.GetStack(), maxStack)
		if !rec.RetC.Failed() {
			rec.RetC = task.Error
		}
		if rec.RespM == "" {
			rec.RespM = rec.Run.Error
		}
	}
}

// note adds a remark to a record.
func note(rec *task.Record, text string) {
	if rec.Run.Note != "" {
		text = rec.Run.Note + "; " + text
	}
	rec.Run.Note = text
}

// clip cuts s to at most n bytes and makes it valid UTF-8.
func clip(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// release gives a delivery back that has not run.
func (d *Dispatcher) release(dv *delivery, at time.Time, reason string) {
	records := make([]task.Record, 1)
	if d.givenBack(dv, "given back by host "+d.o.Host+" without having run", &records[0]) {
		d.finish(records, map[*source][]brokers.Settlement{
			dv.source: {{ID: dv.Task.ID, Token: dv.Token, Verdict: brokers.Release, At: at, Reason: reason}}})
		return
	}
	dv.source.settlements.put(brokers.Settlement{ID: dv.Task.ID, Token: dv.Token, Verdict: brokers.Release, At: at, Reason: reason})
}

// buryUnreadable moves a message that cannot be decoded to the dead letters.
func (d *Dispatcher) buryUnreadable(dv *delivery) {
	reason := clip("unreadable message: "+dv.Unreadable.Error(), maxReason)
	d.o.Logger.Error("unreadable message moved to the dead letters", "broker", dv.source.Name, "task", dv.Task.ID, "error", dv.Unreadable, "bytes", len(dv.Raw))
	d.reportDeadLetter(dv, report.KindUnreadable, reason)
	rec := task.Record{ID: dv.Task.ID, Type: dv.Task.Type, Status: task.Completed, RetC: task.Error, RespM: reason,
		Run: task.Run{Attempt: dv.Attempt, Delivery: dv.order(), Host: d.o.Host, Error: reason, Ended: time.Now().UTC()}}
	d.finish([]task.Record{rec}, map[*source][]brokers.Settlement{
		dv.source: {{ID: dv.Task.ID, Token: dv.Token, Verdict: brokers.Bury, Reason: reason}}})
}

// refused settles a task whose parameters are not what its plugin wants, without running
// it. Trying again would not help: it goes to the dead letters at once.
func (d *Dispatcher) refused(dv *delivery) bool {
	err := d.o.Check(&dv.Task)
	if err == nil {
		return false
	}
	reason := clip(err.Error(), maxReason)
	rec := task.Record{ID: dv.Task.ID, Type: dv.Task.Type, Status: task.Completed, RetC: task.Error, RespM: reason, Run: dv.run(d.o.Host)}
	rec.Run.Error, rec.Run.Ended = reason, time.Now().UTC()
	rec.Run.Note = "refused without having run: its parameters are not what its plugin wants"
	d.reportDeadLetter(dv, report.KindInput, reason)
	d.o.Logger.Warn("task refused: its parameters are not what its plugin wants", "task", dv.Task.ID, "type", dv.Task.Type, "error", reason)
	d.finish([]task.Record{rec}, map[*source][]brokers.Settlement{
		dv.source: {{ID: dv.Task.ID, Token: dv.Token, Verdict: brokers.Bury, Reason: reason}}})
	return true
}

// examine looks what is known of tasks that may have run before. It returns those that are
// to be run; the others have been settled by what their records say. It gives up looking
// when ctx ends.
func (d *Dispatcher) examine(ctx context.Context, all []*delivery) (run []*delivery) {
	ids := make([]task.ID, len(all))
	for i, dv := range all {
		ids[i] = dv.Task.ID
	}
	known, err := d.stores.get(ctx, ids)
	if err != nil && ctx.Err() == nil {
		d.o.Logger.Warn("tasks are delivered again and the records of some cannot be read; they are run", "tasks", len(all)-len(known), "error", err)
	}
	var running []task.Record
	for _, dv := range all {
		if _, found := known[dv.Task.ID]; !found && err != nil && ctx.Err() != nil && dv.Lost > 0 {
			// This host ends, and has not come to know how the run before went. Given back, the
			// task would seem never to have ended; so its lease ends by itself.
			dv.source.forget([]brokers.Settlement{{ID: dv.Task.ID, Token: dv.Token}})
			continue
		}
		if rec := d.settleByRecord(dv, known); rec != nil {
			running, run = append(running, *rec), append(run, dv)
		}
	}
	if len(run) == 0 {
		return nil
	}
	// Its host was lost, perhaps by its own doing: from now on it is written down that it
	// runs before it does.
	written := make(chan struct{})
	d.stores.put(running, func(bool) { close(written) })
	select {
	case <-written:
	case <-ctx.Done():
	case <-time.After(time.Second):
		// A store that is down delays a task, but does not stop it.
	}
	return run
}

// settleByRecord settles a task that has ended, by its record, or that has taken too many
// hosts with it. Of any other it returns the record to be written before it runs.
func (d *Dispatcher) settleByRecord(dv *delivery, known map[task.ID]task.Record) *task.Record {
	st := brokers.Settlement{ID: dv.Task.ID, Token: dv.Token}
	if rec, found := known[dv.Task.ID]; found {
		if superseded(&rec, dv) {
			d.o.Logger.Info("an old copy of a task was delivered, which has come further meanwhile; settled", "task", dv.Task.ID, "attempt", dv.Attempt, "recorded", rec.Run.Attempt)
			st.Verdict = brokers.Done
			dv.source.settlements.put(st)
			return nil
		}
		dv.failures = earlier(rec, dv)
	}
	if rec, found := known[dv.Task.ID]; found && rec.Run.Attempt == dv.Attempt && task.SamePush(rec.Run.Delivery, dv.order()) {
		if u := rec.Run.Undo; u != nil && u.State == task.UndoPending {
			st.Verdict, st.Reason = brokers.Bury, clip(rec.Run.Error, maxReason)
			d.outWG.Go(func() { d.goOn(&undoing{dv: dv, record: rec, st: st}) })
			return nil
		}
		switch {
		case !rec.Run.Ended.IsZero() && earlierLife(rec.Run.Delivery, dv):
			dv.failures = task.Failures{}
			// It ended in an earlier life: since then it has been put back from the dead
			// letters, with its attempts counted from anew.
		case !rec.Run.Ended.IsZero() && !rec.Run.Retry.IsZero():
			st.Verdict, st.At, st.Reason = brokers.Retry, dv.source.dueAt(retryAt(&rec, time.Now())), clip(rec.Run.Error, maxReason)
		case !rec.Run.Ended.IsZero() && rec.RetC.Failed() && !cancel.Was(rec):
			st.Verdict, st.Reason = brokers.Bury, clip(rec.Run.Error, maxReason)
		case !rec.Run.Ended.IsZero():
			st.Verdict = brokers.Done
		case rec.Status == task.InProgress:
			dv.failures.HostsLost++
		}
		if st.Verdict != 0 {
			d.o.Logger.Info("task had ended before its host was lost; settled by its record", "task", dv.Task.ID, "attempt", dv.Attempt)
			// Its host may have been lost before every store had the record.
			d.finish([]task.Record{rec}, map[*source][]brokers.Settlement{dv.source: {st}})
			return nil
		}
	}
	rec := task.Record{ID: dv.Task.ID, Type: dv.Task.Type, Status: task.InProgress, Run: dv.run(d.o.Host)}
	if enough := d.tooManyCrashes(dv.failures); enough != "" {
		rec.Status, rec.RetC, rec.Run.Ended = task.Completed, task.Error, time.Now().UTC()
		rec.RespM = enough
		rec.Run.Error = rec.RespM
		st.Verdict, st.Reason = brokers.Bury, rec.RespM
		d.reportDeadLetter(dv, report.KindDeadLetter, rec.RespM)
		if !d.toBeUndone(dv, st) || !d.undo(dv, &rec, st, nil) {
			d.finish([]task.Record{rec}, map[*source][]brokers.Settlement{dv.source: {st}})
		}
		return nil
	}
	dv.announced = true
	return &rec
}

// order returns the number that a record of this delivery is kept under.
func (dv *delivery) order() int { return task.DeliveryOrder(dv.Task.PushedAt, dv.Sequence) }
