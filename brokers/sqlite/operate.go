package sqlite

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/task"
)

// Cancel implements brokers.Canceller.
func (b *Broker) Cancel(ctx context.Context, id task.ID, c brokers.Cancellation) (it brokers.Item, err error) {
	doing := fmt.Sprintf("cancel task %s", id)
	mark, err := c.Encode()
	if err != nil {
		return it, b.wrap(doing, err)
	}
	found := false
	err = b.db.Write(ctx, func(c *sqlitedb.Conn) error {
		var n int64
		found = false
		err := c.Query(`SELECT `+columns+` FROM tasks WHERE id=?`, func(r sqlitedb.Row) (bool, error) {
			found = true
			it, n = readItem(r, micros(b.now()))
			return false, nil
		}, string(id))
		switch {
		case err != nil || !found || it.State == brokers.StateDead:
		case it.State == brokers.StateLeased:
			_, err = c.Exec(`UPDATE tasks SET cancel=? WHERE n=?`, mark, n)
		default:
			_, err = c.Exec(`DELETE FROM tasks WHERE n=?`, n)
		}
		return err
	})
	if err == nil && !found {
		err = brokers.ErrNotFound
	}
	return it, b.wrap(doing, err)
}

// Cancelled implements brokers.Canceller. It reads an index that is empty but for the tasks
// in question.
func (b *Broker) Cancelled(ctx context.Context, ds []brokers.Delivery) (marks map[task.ID]brokers.Cancellation, err error) {
	all := map[task.ID]brokers.Cancellation{}
	err = b.db.Read(ctx, func(c *sqlitedb.Conn) error {
		clear(all)
		return c.Query(`SELECT id,cancel FROM tasks INDEXED BY tasks_cancelled WHERE cancel IS NOT NULL`, func(r sqlitedb.Row) (bool, error) {
			all[task.ID(r.Text(0))] = brokers.DecodeCancellation(r.Text(1))
			return true, nil
		})
	})
	if err != nil {
		return nil, b.wrap("look for cancelled tasks", err)
	}
	for _, d := range ds {
		if mark, ok := all[d.Task.ID]; ok {
			if marks == nil {
				marks = map[task.ID]brokers.Cancellation{}
			}
			marks[d.Task.ID] = mark
		}
	}
	return marks, nil
}

// pausedSince returns since when the queue is paused, the zero time if it is not.
func pausedSince(c *sqlitedb.Conn) (since time.Time, err error) {
	err = c.Query(`SELECT value FROM switches WHERE name='paused'`, func(r sqlitedb.Row) (bool, error) {
		us, err := strconv.ParseInt(r.Text(0), 10, 64)
		if err != nil || us <= 0 {
			us = 1 // somebody has written something else there: paused it is
		}
		since = fromMicros(us)
		return false, nil
	})
	return since, err
}

// Pause implements brokers.Pauser.
func (b *Broker) Pause(ctx context.Context) error {
	return b.wrap("pause", b.db.Write(ctx, func(c *sqlitedb.Conn) error {
		_, err := c.Exec(`INSERT INTO switches(name,value) VALUES('paused',?) ON CONFLICT(name) DO NOTHING`, strconv.FormatInt(micros(b.now()), 10))
		return err
	}))
}

// Resume implements brokers.Pauser.
func (b *Broker) Resume(ctx context.Context) error {
	return b.wrap("resume", b.db.Write(ctx, func(c *sqlitedb.Conn) error {
		_, err := c.Exec(`DELETE FROM switches WHERE name='paused'`)
		c.Announce()
		return err
	}))
}

// Paused implements brokers.Pauser.
func (b *Broker) Paused(ctx context.Context) (since time.Time, err error) {
	err = b.db.Read(ctx, func(c *sqlitedb.Conn) (err error) {
		since, err = pausedSince(c)
		return err
	})
	return since, b.wrap("look for a pause", err)
}

// Purge implements brokers.Purger.
func (b *Broker) Purge(ctx context.Context, before time.Time, limit int) (n int, err error) {
	if limit < 1 {
		return 0, b.wrap("purge", b.check(ctx))
	}
	err = b.db.Write(ctx, func(c *sqlitedb.Conn) error {
		gone, err := c.Exec(`DELETE FROM tasks WHERE n IN (SELECT n FROM tasks INDEXED BY tasks_by_state
			WHERE state=2 AND at<? ORDER BY at,n LIMIT ?)`, micros(before), limit)
		n = int(gone)
		return err
	})
	return n, b.wrap("purge", err)
}
