// Package sqlite is the broker in a file: SQLite, without a server. It knows the statements
// of a queue on the table tasks; the file itself, its schema and its writer belong to
// internal/sqlitedb.
//
// Everything that a call changes is one transaction. Calls of one process that come at the
// same time share one, so many small calls cost little more than a few large ones.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/task"
)

// The states of a task in the table; see the schema in internal/sqlitedb. A waiting task is
// ready or scheduled, by the clock.
const (
	waiting = 0
	leased  = 1
	dead    = 2
	parked  = 3
)

// maxAnswer bounds the messages that one Lease or List holds in memory, in bytes; the rest
// is there for the next call.
const maxAnswer = 64 << 20

// Broker is a queue in an SQLite file. It implements brokers.Broker and all its optional
// abilities but brokers.Clocked, and is safe for concurrent use.
type Broker struct {
	name  string
	db    *sqlitedb.DB
	now   func() time.Time
	stats statsCache
	// maxAnswer is the constant, but for tests.
	maxAnswer int
}

var (
	_ brokers.Broker    = (*Broker)(nil)
	_ brokers.Waiter    = (*Broker)(nil)
	_ brokers.Inspector = (*Broker)(nil)
	_ brokers.Canceller = (*Broker)(nil)
	_ brokers.Pauser    = (*Broker)(nil)
	_ brokers.Purger    = (*Broker)(nil)
)

// Close gives the file back; what is leased stays so until the leases end.
func (b *Broker) Close() error {
	if err := b.db.Close(); err != nil {
		return b.wrap("close", err)
	}
	return nil
}

// wrap makes an error tell the broker and what it was doing.
func (b *Broker) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sqlitedb.ErrClosed) {
		err = brokers.ErrClosed
	}
	return fmt.Errorf("broker %q: %s: %w", b.name, doing, err)
}

var insert = sqlitedb.NewInserter(5, "INSERT INTO tasks(id,state,at,due,body)", "ON CONFLICT(id) DO NOTHING")

// Push implements brokers.Broker.
func (b *Broker) Push(ctx context.Context, tasks []task.Task) error {
	if len(tasks) == 0 {
		return b.wrap("push", b.check(ctx))
	}
	now := b.now()
	bodies := make([]string, len(tasks))
	for i := range tasks {
		raw, err := task.Encode(&tasks[i])
		if err != nil {
			return b.wrap("push", err)
		}
		bodies[i] = string(raw)
	}
	err := b.db.Write(ctx, func(c *sqlitedb.Conn) error {
		added, err := insert.Insert(c, len(tasks), func(args []any, i int) []any {
			due := tasks[i].At
			if due.IsZero() {
				// What is to run at once is not delayed by a time of push to come.
				if due = tasks[i].PushedAt; due.IsZero() || due.After(now) {
					due = now
				}
			}
			at := micros(due)
			return append(args, string(tasks[i].ID), waiting, at, at, bodies[i])
		})
		if added > 0 {
			c.Announce()
		}
		return err
	})
	return b.wrap("push", err)
}

// check returns the error that a call with nothing to do returns.
func (b *Broker) check(ctx context.Context) error {
	return b.db.Read(ctx, func(*sqlitedb.Conn) error { return nil })
}

// sweep makes tasks ready whose lease has ended or that were parked until now. The token of
// a lost lease stays, so that its holder can still settle as long as nobody else has the
// task; at the next lease it tells that one was lost.
func sweep(c *sqlitedb.Conn, now int64) (int64, error) {
	return c.Exec(`UPDATE tasks INDEXED BY tasks_by_state SET state=0, at=due, note=NULL WHERE state IN (1,3) AND at<=?`, now)
}

// found is a task that Lease has chosen.
type found struct {
	n        int64
	id       string
	attempts int
	sequence int
	lost     int
	body     []byte
	stray    bool // its last lease ended by itself
	cancel   []byte
}

// Lease implements brokers.Broker.
func (b *Broker) Lease(ctx context.Context, max int, ttl time.Duration) ([]brokers.Delivery, error) {
	if max < 1 {
		return nil, b.wrap("lease", b.check(ctx))
	}
	var (
		fs    []found
		now   time.Time
		token = rand.Int64N(1<<62) + 1 // of all leases of this call
	)
	err := b.db.Write(ctx, func(c *sqlitedb.Conn) (err error) {
		now = b.now()
		fs, err = lease(c, max, b.maxAnswer, micros(now), micros(now.Add(ttl)), token)
		return err
	})
	if err != nil {
		return nil, b.wrap("lease", err)
	}
	ds := make([]brokers.Delivery, len(fs))
	for i, f := range fs {
		ds[i] = brokers.Delivery{
			Token: formatToken(f.n, token), Attempt: f.attempts + 1, Sequence: f.sequence + 1,
			Lost: f.lost, Repeated: f.lost > 0, Until: now.Add(ttl),
		}
		ds[i].Task, ds[i].Unreadable = decode(f.id, f.body)
		if ds[i].Unreadable != nil {
			ds[i].Raw = f.body
		}
		if len(f.cancel) > 0 {
			c := brokers.DecodeCancellation(string(f.cancel))
			ds[i].Cancel = &c
		}
	}
	return ds, nil
}

func lease(c *sqlitedb.Conn, max, maxBytes int, now, until, token int64) ([]found, error) {
	if since, err := pausedSince(c); err != nil || !since.IsZero() {
		return nil, err
	}
	if _, err := sweep(c, now); err != nil {
		return nil, err
	}
	var (
		fs    []found
		list  strings.Builder
		bytes int
	)
	err := c.Query(`SELECT n,id,attempts,sequence,lost,token,body,cancel FROM tasks INDEXED BY tasks_by_state
		WHERE state=0 AND at<=? ORDER BY at,n LIMIT ?`,
		func(r sqlitedb.Row) (bool, error) {
			f := found{
				n: r.Int(0), id: r.Text(1), attempts: int(r.Int(2)), sequence: int(r.Int(3)),
				lost: int(r.Int(4)), stray: !r.Null(5), body: r.Bytes(6), cancel: r.Bytes(7),
			}
			fs = append(fs, f)
			sep := byte(',')
			if list.Len() == 0 {
				sep = '['
			}
			list.WriteByte(sep)
			list.WriteString(strconv.FormatInt(f.n, 10))
			bytes += len(f.body)
			return bytes < maxBytes, nil
		}, now, max)
	if err != nil || len(fs) == 0 {
		return nil, err
	}
	list.WriteByte(']')
	_, err = c.Exec(`UPDATE tasks SET state=1, at=?, token=?, sequence=sequence+1
		WHERE n IN (SELECT value FROM json_each(?))`, until, token, list.String())
	for i := range fs {
		if err == nil && fs[i].stray {
			fs[i].lost++
			err = addEvent(c, fs[i].n, now, fs[i].attempts+1, "lost", "the lease ended by itself", "lost=lost+1")
		}
	}
	return fs, err
}

// Extend implements brokers.Broker.
func (b *Broker) Extend(ctx context.Context, ttl time.Duration, ds []brokers.Delivery) (lost []task.ID, err error) {
	if len(ds) == 0 {
		return nil, b.wrap("extend", b.check(ctx))
	}
	err = b.db.Write(ctx, func(c *sqlitedb.Conn) error {
		lost = nil
		until := micros(b.now().Add(ttl))
		for _, d := range ds {
			n, token, ok := parseToken(d.Token)
			if ok {
				changed, err := c.Exec(`UPDATE tasks SET state=1, at=? WHERE n=? AND token=?`, until, n, token)
				if err != nil {
					return err
				}
				ok = changed == 1
			}
			if !ok {
				lost = append(lost, d.Task.ID)
			}
		}
		c.Announce() // a lease that was shortened ends earlier than those who wait expect
		return nil
	})
	return lost, b.wrap("extend", err)
}

// micros is a time as the database has it.
func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// A token names the row and the lease.
func formatToken(n, token int64) string {
	return strconv.FormatInt(n, 36) + "." + strconv.FormatInt(token, 36)
}

func parseToken(s string) (n, token int64, ok bool) {
	a, b, ok := strings.Cut(s, ".")
	if !ok {
		return 0, 0, false
	}
	n, err := strconv.ParseInt(a, 36, 64)
	if err != nil {
		return 0, 0, false
	}
	token, err = strconv.ParseInt(b, 36, 64)
	return n, token, err == nil
}

// decode reads a message. What cannot be read comes back as a task with an id alone.
func decode(id string, body []byte) (task.Task, error) {
	t, err := task.Decode(body)
	if err == nil && string(t.ID) != id {
		err = fmt.Errorf("the message is of task %s, but queued as %s", t.ID, id)
	}
	if err != nil {
		return task.Task{ID: task.ID(id)}, err
	}
	return t, nil
}
