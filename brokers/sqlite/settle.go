package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/task"
)

// Settle implements brokers.Broker.
func (b *Broker) Settle(ctx context.Context, ss []brokers.Settlement) (lost []task.ID, err error) {
	if len(ss) == 0 {
		return nil, b.wrap("settle", b.check(ctx))
	}
	for _, s := range ss {
		if s.Verdict < brokers.Done || s.Verdict > brokers.Bury {
			return nil, b.wrap("settle", fmt.Errorf("task %s: %d is not a verdict", s.ID, s.Verdict))
		}
	}
	err = b.db.Write(ctx, func(c *sqlitedb.Conn) error {
		lost = nil
		now := b.now()
		for _, s := range ss {
			ok, err := settle(c, s, now)
			if err != nil {
				return err
			}
			if !ok {
				lost = append(lost, s.ID)
			}
			if s.Verdict == brokers.Retry || s.Verdict == brokers.Release {
				c.Announce()
			}
		}
		return nil
	})
	return lost, b.wrap("settle", err)
}

// settle ends one lease; it reports false if the token is not that of the latest one.
func settle(c *sqlitedb.Conn, s brokers.Settlement, now time.Time) (bool, error) {
	n, token, ok := parseToken(s.Token)
	if !ok {
		return false, nil
	}
	var (
		changed int64
		err     error
		at      = micros(s.At)
	)
	switch s.Verdict {
	case brokers.Done:
		changed, err = c.Exec(`DELETE FROM tasks WHERE n=? AND token=?`, n, token)
	case brokers.Release:
		switch {
		case s.At.IsZero():
			changed, err = c.Exec(`UPDATE tasks SET state=0, at=due, token=NULL WHERE n=? AND token=?`, n, token)
		case s.Reason != "" && s.At.After(now):
			changed, err = c.Exec(`UPDATE tasks SET state=3, at=?, due=?, token=NULL, note=? WHERE n=? AND token=?`, at, at, s.Reason, n, token)
		default:
			changed, err = c.Exec(`UPDATE tasks SET state=0, at=?, due=?, token=NULL WHERE n=? AND token=?`, at, at, n, token)
		}
	case brokers.Retry:
		if s.At.IsZero() {
			at = micros(now)
		}
		if changed, err = c.Exec(`UPDATE tasks SET state=0, at=?, due=?, token=NULL WHERE n=? AND token=?`, at, at, n, token); changed == 1 {
			err = failed(c, n, micros(now), "retry", s.Reason)
		}
	case brokers.Bury:
		if changed, err = c.Exec(`UPDATE tasks SET state=2, at=?, token=NULL, cancel=NULL WHERE n=? AND token=?`, micros(now), n, token); changed == 1 {
			err = failed(c, n, micros(now), "bury", s.Reason)
		}
	}
	return changed == 1, err
}

// failed counts an attempt and notes it in the history.
func failed(c *sqlitedb.Conn, n, now int64, what, reason string) error {
	attempts, err := c.Int(`SELECT attempts FROM tasks WHERE n=?`, n)
	if err != nil {
		return err
	}
	return addEvent(c, n, now, int(attempts)+1, what, reason, "attempts=attempts+1")
}

// addEvent adds an event to the history of row n, and makes the change that it is about.
func addEvent(c *sqlitedb.Conn, n, now int64, attempt int, what, reason, change string) error {
	var history []brokers.Event
	err := c.Query(`SELECT history FROM tasks WHERE n=?`, func(r sqlitedb.Row) (bool, error) {
		history = parseHistory(r.Bytes(0))
		return false, nil
	}, n)
	if err != nil {
		return err
	}
	history = brokers.AddEvent(history, brokers.Event{Time: fromMicros(now), Attempt: attempt, What: what, Reason: reason})
	text, err := json.Marshal(history)
	if err != nil {
		return err
	}
	_, err = c.Exec(`UPDATE tasks SET history=?, `+change+` WHERE n=?`, string(text), n)
	return err
}

// parseHistory reads a history. One that cannot be read, because somebody has edited the
// file, is no reason not to settle a task: it begins anew.
func parseHistory(b []byte) []brokers.Event {
	var history []brokers.Event
	if len(b) > 0 && json.Unmarshal(b, &history) != nil {
		return nil
	}
	return history
}
