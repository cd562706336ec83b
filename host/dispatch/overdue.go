package dispatch

import (
	"context"
	"slices"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// inTime renews leases whose answer took long, and leaves out those that cannot be: to this
// host they may have ended before it has heard of them, so what would run by them would be
// thrown away and run again. began is when they were asked for.
func (s *source) inTime(began time.Time, got []brokers.Delivery) []brokers.Delivery {
	if len(got) == 0 || time.Since(began) < s.d.o.Lease/3 {
		return got
	}
	ctx, cancel := context.WithTimeout(s.d.ctx, s.d.o.Lease/3)
	defer cancel()
	again := time.Now()
	lost, err := s.Broker.Broker.Extend(ctx, s.d.o.Lease, got)
	s.heard("renew leases", err)
	gone := make(map[task.ID]bool, len(lost))
	for _, id := range lost {
		gone[id] = true
	}
	asked := len(got)
	got = slices.DeleteFunc(got, func(dv brokers.Delivery) bool {
		return gone[dv.Task.ID] || err != nil && !time.Now().Before(dv.Until)
	})
	if err == nil {
		for i := range got {
			got[i].Until = again.Add(s.d.o.Lease)
		}
	}
	if n := asked - len(got); n > 0 {
		s.d.o.Logger.Warn("the broker's answer came too late: leases had ended; their tasks run later", "broker", s.Name, "tasks", n)
	}
	return got
}

// earlierLife reports whether a record that says that a delivery's attempt has ended tells of
// an earlier life of the task: since then it has been put back from the dead letters, its
// attempts and losses counted from anew. In one life, each lease after the one that has ended
// with a record, but for the present one, has ended by itself.
func earlierLife(recorded int, dv *delivery) bool {
	return dv.order()-recorded > max(1, dv.Lost)
}

// superseded reports whether a delivery is an old copy of a task that has come further, by
// its record: a broker that cannot change a message sends a new one for the next attempt, and
// the old one stays if its deletion fails. After the task has been put back from the dead
// letters, the leases since its record outnumber those that were lost, and it is none.
func superseded(rec *task.Record, dv *delivery) bool {
	return rec.Run.Attempt > dv.Attempt && task.SamePush(rec.Run.Delivery, dv.order()) && dv.order()-rec.Run.Delivery <= dv.Lost
}

// retryAt returns when the attempt after a recorded one is due, by this host's clock. That of
// the host that has recorded it may have been wrong: the wait is at most as long as that host
// meant it to be.
func retryAt(rec *task.Record, now time.Time) time.Time {
	at := rec.Run.Retry
	if latest := now.Add(max(0, at.Sub(rec.Run.Ended))); at.After(latest) {
		return latest
	}
	return at
}
