package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

// maxRevert is the most time that a plugin gets to say what would undo a task.
const maxRevert = time.Minute

// undoing is the way of a task of a revertible type from its final failure to its
// settlement: its record is written, with the undo still pending; its plugin says which
// task would undo it, if it has not already; that task is pushed; the record names it; and
// then the task is settled. A host that dies on this way leaves a record that says so, and
// whoever gets the task delivered again goes on where it ended. The id of the task that
// undoes it follows from the failure, so that it is queued once.
type undoing struct {
	dv     *delivery
	record task.Record
	st     brokers.Settlement
	by     *pluginpb.Task // the task that undoes it; nil: the plugin is to be asked
}

// toBeUndone reports whether a task that is about to be settled has failed for good, and
// may have to be undone.
func (d *Dispatcher) toBeUndone(dv *delivery, st brokers.Settlement) bool {
	// What fails to undo another task is not undone itself: that could go on for ever.
	return st.Verdict == brokers.Bury && dv.Task.Undoes == "" && d.o.Pusher != nil && d.o.Revertible(dv.Task.Type)
}

// undo starts the undoing of a task that has failed for good. It reports false if there is
// nothing to undo. o is how it ended; nil if its host was lost.
func (d *Dispatcher) undo(dv *delivery, rec *task.Record, st brokers.Settlement, o *pool.Outcome) bool {
	u := &undoing{dv: dv, record: *rec, st: st}
	if o != nil && o.Kind == pool.Ended {
		if u.by = o.Result.GetUndo(); u.by == nil {
			return false // it has been asked when it failed
		}
	}
	u.record.Run.Undo = &task.Undo{State: task.UndoPending}
	d.stores.put([]task.Record{u.record}, func(ok bool) {
		if !ok {
			dv.source.forget([]brokers.Settlement{st})
			return
		}
		d.outWG.Go(func() { d.goOn(u) })
	})
	return true
}

// goOn does the next step of an undoing whose record is written.
func (d *Dispatcher) goOn(u *undoing) {
	if u.by != nil {
		d.pushUndo(u)
		return
	}
	limit := u.dv.Task.TimeLimit
	if limit == 0 {
		limit = d.o.TimeLimit(u.dv.Task.Type)
	}
	if limit <= 0 || limit > maxRevert {
		limit = maxRevert
	}
	job := &pool.Job{Task: u.dv.Task, Attempt: u.dv.Attempt, Limit: limit, Revert: true, Tag: u}
	u.dv.source.mu.Lock()
	lost := u.dv.lost
	u.dv.job = job
	u.dv.source.mu.Unlock()
	if lost {
		u.forget()
		return
	}
	d.inPool.Add(1)
	if d.o.Pool.Submit([]*pool.Job{job}) != nil {
		d.inPool.Add(-1)
		u.giveBack(time.Time{})
	}
}

// reverted takes in what came of asking the plugin.
func (d *Dispatcher) reverted(u *undoing, o *pool.Outcome, now time.Time) {
	switch {
	case !u.dv.source.stillOurs(u.dv, now):
		u.forget()
	case o.Kind == pool.Returned, o.Kind == pool.Died && o.Exit.Reason == process.ReasonShutdown:
		u.giveBack(time.Time{})
	case o.Kind == pool.Unserved:
		u.giveBack(u.dv.source.dueAt(d.parkUntil(&u.dv.Task, o.Reason, now)))
	case o.Kind == pool.Died:
		d.undoFailed(u, "its plugin was asked for it: "+o.Exit.String())
	case o.Result.GetFailure() != nil:
		d.undoFailed(u, clip(o.Result.GetFailure().GetMessage(), maxError))
	case o.Result.GetUndo() == nil:
		u.record.Run.Undo = nil // there is nothing to undo
		u.finish(d)
	default:
		u.by = o.Result.GetUndo()
		d.outWG.Go(func() { d.pushUndo(u) })
	}
}

// pushUndo queues the task that undoes another, for as long as that takes: until then the
// failed task is not settled.
func (d *Dispatcher) pushUndo(u *undoing) {
	// Its id is not the plugin's to choose.
	t, err := pushedTask(&pluginpb.Push{Task: &pluginpb.Task{Id: string(undoID(u.dv.Task.ID, u.record.Run.Delivery)),
		Type: u.by.GetType(), Params: u.by.GetParams(), Priority: u.by.GetPriority(), TimeLimit: u.by.GetTimeLimit(), MaxAttempts: u.by.GetMaxAttempts()}}, time.Now().UTC())
	t.Undoes = u.dv.Task.ID
	if err != nil {
		d.undoFailed(u, err.Error())
		return
	}
	for try := 0; ; try++ {
		if !u.dv.source.stillOurs(u.dv, time.Now()) {
			u.forget()
			return
		}
		// It may have been queued by a host that was lost then, and have run.
		err := d.pushUnlessRecorded(t)
		if err == nil {
			break
		}
		if try%20 == 0 {
			d.o.Logger.Error("the task that undoes another cannot be queued; it will be tried again", "task", u.dv.Task.ID, "type", t.Type, "error", err)
		}
		select {
		case <-d.ctx.Done():
			u.forget()
			return
		case <-time.After(min(retryMost, retryFirst<<min(try, 10))):
		}
	}
	d.o.Logger.Info("task failed for good; the task that undoes it is queued", "task", u.dv.Task.ID, "type", u.dv.Task.Type, "undo", t.ID, "undo_type", t.Type)
	u.record.Run.Undo = &task.Undo{State: task.UndoPushed, ID: t.ID, Type: t.Type}
	u.finish(d)
}

func (d *Dispatcher) pushUnlessRecorded(t task.Task) error {
	ctx, cancel := context.WithTimeout(d.ctx, callTimeout)
	defer cancel()
	known, err := d.stores.get(ctx, []task.ID{t.ID})
	if _, found := known[t.ID]; found || err != nil {
		return err
	}
	return d.o.Pusher.push([]task.Task{t})
}

func (d *Dispatcher) undoFailed(u *undoing, why string) {
	d.report(u.dv.report(report.KindTask, "it failed for good and cannot be undone: "+clip(why, maxError)))
	d.o.Logger.Error("task failed for good and cannot be undone", "task", u.dv.Task.ID, "type", u.dv.Task.Type, "error", why)
	u.record.Run.Undo = &task.Undo{State: task.UndoFailed, Error: clip(why, maxError)}
	u.finish(d)
}

// finish records how the undoing went, and settles the task.
func (u *undoing) finish(d *Dispatcher) {
	d.finish([]task.Record{u.record}, map[*source][]brokers.Settlement{u.dv.source: {u.st}})
}

// giveBack leaves the rest to whoever gets the task next.
func (u *undoing) giveBack(at time.Time) {
	u.dv.source.settlements.put(brokers.Settlement{ID: u.st.ID, Token: u.st.Token, Verdict: brokers.Release, At: at,
		Reason: "given back before it was undone"})
}

// forget leaves the rest to whoever has the lease now, or gets it when it has ended.
func (u *undoing) forget() {
	u.dv.source.forget([]brokers.Settlement{u.st})
}

// undoID returns the id of the task that undoes one that failed at the given delivery.
func undoID(failed task.ID, delivery int) task.ID {
	suffix := ".undo-" + strconv.FormatInt(int64(delivery), 36)
	if len(failed)+len(suffix) > task.MaxIDBytes {
		sum := sha256.Sum256([]byte(failed))
		failed = task.ID(hex.EncodeToString(sum[:]))
	}
	return failed + task.ID(suffix)
}
