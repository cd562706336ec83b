package sqlite

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/task"
)

// columns are those of an Item, in the order in which readItem wants them.
const columns = `n,id,state,at,due,token,attempts,lost,note,history,body,sequence`

// readItem makes an Item of a row, and returns the row's number.
func readItem(r sqlitedb.Row, now int64) (brokers.Item, int64) {
	state, at := r.Int(2), r.Int(3)
	it := brokers.Item{
		ID: task.ID(r.Text(1)), Due: fromMicros(r.Int(4)), Attempt: int(r.Int(6)), Lost: int(r.Int(7)),
		History: parseHistory(r.Bytes(9)), Raw: r.Bytes(10), Sequence: int(r.Int(11)),
	}
	it.Task, _ = decode(r.Text(1), it.Raw)
	switch {
	case state == dead:
		it.State = brokers.StateDead
	case state == leased && at > now:
		it.State, it.Until = brokers.StateLeased, fromMicros(at)
	case state != leased && at > now:
		it.State, it.Note = brokers.StateScheduled, r.Text(8)
	default:
		it.State = brokers.StateReady
		if !r.Null(5) {
			it.Lost++ // ended, though nobody has leased it since
		}
	}
	return it, r.Int(0)
}

// Find implements brokers.Inspector.
func (b *Broker) Find(ctx context.Context, id task.ID) (it brokers.Item, err error) {
	found := false
	err = b.db.Read(ctx, func(c *sqlitedb.Conn) error {
		return c.Query(`SELECT `+columns+` FROM tasks WHERE id=?`, func(r sqlitedb.Row) (bool, error) {
			found = true
			it, _ = readItem(r, micros(b.now()))
			return false, nil
		}, string(id))
	})
	if err == nil && !found {
		err = brokers.ErrNotFound
	}
	return it, b.wrap(fmt.Sprintf("find task %s", id), err)
}

// List implements brokers.Inspector. A page with large messages can be shorter than limit.
func (b *Broker) List(ctx context.Context, state brokers.State, cursor string, limit int) (items []brokers.Item, next string, err error) {
	items, next, err = b.list(ctx, state, cursor, limit)
	return items, next, b.wrap(fmt.Sprintf("list %s tasks", state), err)
}

func (b *Broker) list(ctx context.Context, state brokers.State, cursor string, limit int) (items []brokers.Item, next string, err error) {
	time, n, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	if limit < 1 {
		return nil, "", b.check(ctx)
	}
	// With those swept whose time has come, ready ones are in one state.
	if err := b.db.Write(ctx, func(c *sqlitedb.Conn) error { _, err := sweep(c, micros(b.now())); return err }); err != nil {
		return nil, "", err
	}
	now := micros(b.now())
	page := func(of int, where string) string {
		return fmt.Sprintf(`SELECT %s FROM tasks INDEXED BY tasks_by_state WHERE state=%d AND %s AND (at,n)>(?1,?2)`, columns, of, where)
	}
	var query string
	key := func(it brokers.Item) int64 { return micros(it.Due) }
	switch state {
	case brokers.StateReady:
		query = page(waiting, `at<=?4`)
	case brokers.StateScheduled:
		query = page(waiting, `at>?4`) + ` UNION ALL ` + page(parked, `at>?4`)
	case brokers.StateLeased: // few, so they may be sorted
		query = fmt.Sprintf(`SELECT %s FROM tasks WHERE state=%d AND at>?4 AND (due,n)>(?1,?2)`, columns, leased)
	case brokers.StateDead:
		query = page(dead, `?4=?4`)
	default:
		return nil, "", fmt.Errorf("unknown state %q; the states are ready, scheduled, leased and dead", string(state))
	}
	order := ` ORDER BY at,n LIMIT ?3`
	if state == brokers.StateLeased {
		order = ` ORDER BY due,n LIMIT ?3`
	}
	err = b.db.Read(ctx, func(c *sqlitedb.Conn) error {
		items, next = nil, ""
		last, bytes := "", 0
		return c.Query(query+order, func(r sqlitedb.Row) (bool, error) {
			if len(items) == limit || bytes >= b.maxAnswer {
				next = last
				return false, nil
			}
			it, n := readItem(r, now)
			it.State = state
			items = append(items, it)
			bytes += len(it.Raw)
			at := key(it)
			if state == brokers.StateDead {
				at = r.Int(3)
			}
			last = fmt.Sprintf("%d.%d", at, n)
			return true, nil
		}, time, n, limit+1, now)
	})
	return items, next, err
}

// parseCursor reads a cursor: the time and the number of the row before the page.
func parseCursor(s string) (time, n int64, err error) {
	if s == "" {
		return -1 << 63, 0, nil
	}
	a, b, ok := strings.Cut(s, ".")
	if ok {
		if time, err = strconv.ParseInt(a, 10, 64); err == nil {
			n, err = strconv.ParseInt(b, 10, 64)
		}
	}
	if !ok || err != nil {
		return 0, 0, fmt.Errorf("%q is not a cursor that List returned", s)
	}
	return time, n, nil
}

// Requeue implements brokers.Inspector. The sequence goes on, because records are ordered
// by it.
func (b *Broker) Requeue(ctx context.Context, ids []task.ID) (missing []task.ID, err error) {
	missing, err = b.each(ctx, ids, `UPDATE tasks SET state=0, at=?2, due=?2, attempts=0, lost=0 WHERE id=?1 AND state=2`)
	return missing, b.wrap("requeue", err)
}

// Delete implements brokers.Inspector.
func (b *Broker) Delete(ctx context.Context, ids []task.ID) (missing []task.ID, err error) {
	missing, err = b.each(ctx, ids, `DELETE FROM tasks WHERE id=?1 AND NOT (state=1 AND at>?2)`)
	return missing, b.wrap("delete", err)
}

// each runs the query for every id, with the present as its second argument, and returns
// the ids for which it changed nothing.
func (b *Broker) each(ctx context.Context, ids []task.ID, query string) (missing []task.ID, err error) {
	if len(ids) == 0 {
		return nil, b.check(ctx)
	}
	err = b.db.Write(ctx, func(c *sqlitedb.Conn) error {
		missing = nil
		now := micros(b.now())
		for _, id := range ids {
			changed, err := c.Exec(query, string(id), now)
			if err != nil {
				return err
			}
			if changed == 0 {
				missing = append(missing, id)
			}
		}
		c.Announce()
		return nil
	})
	return missing, err
}
