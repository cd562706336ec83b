package dispatch

import (
	"context"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/cancel"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/task"
)

const (
	// cancelEvery is how often the broker is asked whether somebody has cancelled one of
	// the tasks that this host has held for at least so long: shorter ones have ended by
	// the time that anybody could mean them.
	cancelEvery = 500 * time.Millisecond
	// wishEvery is the same where the meta storages are asked, for want of such a broker.
	wishEvery = time.Second
)

// watchCancelled has tasks stopped that were cancelled, until the dispatcher closes.
func (s *source) watchCancelled() {
	wait := time.NewTimer(cancelEvery)
	defer wait.Stop()
	for {
		select {
		case <-s.d.ctx.Done():
			return
		case <-wait.C:
		}
		canceller, ok := brokers.Ability[brokers.Canceller](s.Broker.Broker)
		every := cancelEvery
		if !ok {
			every = wishEvery
		}
		if ds := s.heldFor(every); len(ds) > 0 {
			s.look(canceller, ds)
		}
		wait.Reset(every)
	}
}

// heldFor returns the deliveries that have been here for so long.
func (s *source) heldFor(least time.Duration) (ds []brokers.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := time.Now().Add(-least)
	for _, dv := range s.held {
		if !dv.lost && !dv.settling && !dv.since.After(before) {
			ds = append(ds, dv.Delivery)
		}
	}
	return ds
}

// look asks which of the deliveries were cancelled, and stops those. canceller is nil where
// the meta storages have to know.
func (s *source) look(canceller brokers.Canceller, ds []brokers.Delivery) {
	ctx, stop := context.WithTimeout(s.d.ctx, callTimeout)
	defer stop()
	var marks map[task.ID]brokers.Cancellation
	var err error
	if canceller != nil {
		marks, err = canceller.Cancelled(ctx, ds)
		s.heard("look for cancelled tasks", err)
	} else {
		marks, err = s.d.wishes(ctx, ds)
	}
	if err != nil {
		return // it is asked again soon
	}
	for id, c := range marks {
		s.mu.Lock()
		dv := s.held[id]
		s.mu.Unlock()
		if dv != nil {
			s.cancel(dv, c)
		}
	}
}

// wishes returns the cancellations of tasks that the meta storages know of.
func (d *Dispatcher) wishes(ctx context.Context, ds []brokers.Delivery) (map[task.ID]brokers.Cancellation, error) {
	marks := map[task.ID]brokers.Cancellation{}
	for len(ds) > 0 {
		chunk := ds[:min(len(ds), recordsMost)]
		ds = ds[len(chunk):]
		ids := make([]task.ID, len(chunk))
		for i := range chunk {
			ids[i] = cancel.WishID(chunk[i].Task.ID)
		}
		known, err := d.stores.get(ctx, ids)
		for i := range chunk {
			if rec, ok := known[ids[i]]; ok {
				if c, wished := cancel.Wished(rec, &chunk[i].Task); wished {
					marks[chunk[i].Task.ID] = c
				}
			}
		}
		if err != nil && len(marks) == 0 {
			return nil, err
		}
	}
	return marks, nil
}

// withoutWished settles those of the deliveries that the meta storages know to be cancelled,
// where the broker itself cannot know, and returns the others.
func (s *source) withoutWished(all []*delivery) (rest []*delivery) {
	if _, ok := brokers.Ability[brokers.Canceller](s.Broker.Broker); ok || len(all) == 0 {
		return all
	}
	ds := make([]brokers.Delivery, len(all))
	for i, dv := range all {
		ds[i] = dv.Delivery
	}
	// Where they cannot be asked, a task that runs all the same is found a moment later.
	marks, _ := s.d.wishes(s.d.feedCtx, ds)
	for _, dv := range all {
		if c, ok := marks[dv.Task.ID]; ok {
			s.d.settleCancelled(dv, c)
			continue
		}
		rest = append(rest, dv)
	}
	return rest
}

// cancel stops a task that somebody has cancelled. A newer cancellation can shorten the
// grace of an older one.
func (s *source) cancel(dv *delivery, c brokers.Cancellation) {
	s.mu.Lock()
	if dv.lost || dv.settling || dv.cancelled != nil && !c.At.After(dv.cancelled.At) {
		s.mu.Unlock()
		return
	}
	dv.cancelled = &c
	job := dv.job
	s.mu.Unlock()
	if job == nil || job.Revert { // it is about to run, and will not; or it has ended, and is being undone
		return
	}
	s.d.o.Logger.Info("task cancelled; it is stopped", "task", dv.Task.ID, "type", dv.Task.Type, "broker", s.Name, "grace", c.Grace.String(), "reason", c.Reason)
	// The pool may be waiting for us to take an outcome.
	s.d.outWG.Go(func() { s.d.o.Pool.Cancel(job, c.Grace, c.Reason) })
}

// cancellation returns that of the delivery, nil if nobody has cancelled it.
func (dv *delivery) cancellation() *brokers.Cancellation {
	dv.source.mu.Lock()
	defer dv.source.mu.Unlock()
	return dv.cancelled
}

// concludeCancelled decides what becomes of a task that was cancelled, however it has ended,
// and fills in its record. It reports false for one that has ended well before it could be
// stopped.
func (d *Dispatcher) concludeCancelled(o *pool.Outcome, dv *delivery, c *brokers.Cancellation, now time.Time, rec *task.Record) (brokers.Settlement, bool) {
	switch o.Kind {
	case pool.Ended, pool.Died:
		d.record(o, dv, rec)
		if !rec.RetC.Failed() {
			return brokers.Settlement{}, false
		}
	default:
		*rec = d.notRun(dv)
	}
	cancel.Conclude(rec, *c, now)
	return brokers.Settlement{ID: dv.Task.ID, Token: dv.Token, Verdict: brokers.Done}, true
}

// settleCancelled settles a task that was cancelled before it ran here.
func (d *Dispatcher) settleCancelled(dv *delivery, c brokers.Cancellation) {
	rec := d.notRun(dv)
	cancel.Conclude(&rec, c, time.Now())
	d.o.Logger.Info("task was cancelled before it ran", "task", dv.Task.ID, "type", dv.Task.Type, "broker", dv.source.Name, "reason", c.Reason)
	d.finish([]task.Record{rec}, map[*source][]brokers.Settlement{
		dv.source: {{ID: dv.Task.ID, Token: dv.Token, Verdict: brokers.Done}}})
}

// notRun returns the record of a delivery that has not run.
func (d *Dispatcher) notRun(dv *delivery) task.Record {
	dv.told.last()
	rec := task.Record{ID: dv.Task.ID, Type: dv.Task.Type, Run: dv.run(d.o.Host)}
	rec.Run.Note = "it did not run in this attempt"
	return rec
}
