package sqlitedb

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"net/url"

	"modernc.org/sqlite"
)

// Conn is one connection to the database, with its prepared statements. It is used by one
// goroutine at a time.
//
// It speaks to the driver without database/sql in between: the pool, the locks and the
// conversions of that package would cost as much as the short statements of a queue do.
type Conn struct {
	ctx   context.Context // interrupts what runs; the writer's never ends
	raw   driver.Conn
	stmts map[string]driver.Stmt
	args  []driver.NamedValue // used again for every statement
	// announce is set by Announce and read by the writer.
	announce bool
}

// connect opens a connection without setting anything on it.
func connect(path string) (*Conn, error) {
	// The driver opens what is not there; whoever calls has made sure that it is.
	dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: path}).String()
	raw, err := (&sqlite.Driver{}).Open(dsn)
	if err != nil {
		return nil, err
	}
	return &Conn{ctx: context.Background(), raw: raw, stmts: map[string]driver.Stmt{}}, nil
}

func (c *Conn) close() error {
	for _, s := range c.stmts {
		_ = s.Close()
	}
	return c.raw.Close()
}

// stmt returns the statement of the query, prepared at its first use. Queries are
// constants of the program, so their number is small.
func (c *Conn) stmt(query string) (driver.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.raw.Prepare(query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = s
	return s, nil
}

// bind returns the arguments as the driver wants them; valid until the next call.
func (c *Conn) bind(args []any) ([]driver.NamedValue, error) {
	c.args = c.args[:0]
	for i, a := range args {
		switch v := a.(type) {
		case int:
			a = int64(v)
		case int64, string, []byte, nil:
		default:
			return nil, fmt.Errorf("argument %d is a %T, which has no place in the database", i+1, a)
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args, nil
}

// Exec runs a statement and returns how many rows it has changed. Arguments are int,
// int64, string, []byte or nil.
func (c *Conn) Exec(query string, args ...any) (changed int64, err error) {
	s, err := c.stmt(query)
	if err != nil {
		return 0, err
	}
	values, err := c.bind(args)
	if err != nil {
		return 0, err
	}
	r, err := s.(driver.StmtExecContext).ExecContext(c.ctx, values)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Query runs a statement and calls scan with each of its rows, until scan returns false
// or an error. Arguments are as for Exec. scan must not run further statements of the same
// text.
func (c *Conn) Query(query string, scan func(Row) (more bool, err error), args ...any) error {
	s, err := c.stmt(query)
	if err != nil {
		return err
	}
	values, err := c.bind(args)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(c.ctx, values)
	if err != nil {
		return err
	}
	row := make(Row, len(rows.Columns()))
	for more := true; more; {
		if err = rows.Next(row); err == io.EOF {
			err = nil
			break
		}
		if err == nil {
			more, err = scan(row)
		}
		if err != nil {
			break
		}
	}
	if cerr := rows.Close(); err == nil {
		err = cerr
	}
	return err
}

// Int returns the first column of the first row of a query, 0 if there is none.
func (c *Conn) Int(query string, args ...any) (n int64, err error) {
	err = c.Query(query, func(r Row) (bool, error) {
		n = r.Int(0)
		return false, nil
	}, args...)
	return n, err
}

// Announce makes the transaction, once it is committed, wake whoever waits for a change
// in this process (see DB.Wait).
func (c *Conn) Announce() { c.announce = true }

// Row is one row of a result. Values of another type than asked for, NULL too, read as the
// zero value: the file may have been edited by hand.
type Row []driver.Value

// Int returns the integer in column i.
func (r Row) Int(i int) int64 { n, _ := r[i].(int64); return n }

// Null reports whether column i holds NULL.
func (r Row) Null(i int) bool { return r[i] == nil }

// Text returns the text (or blob) in column i.
func (r Row) Text(i int) string {
	switch v := r[i].(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

// Bytes returns the blob (or text) in column i; the caller may keep it.
func (r Row) Bytes(i int) []byte {
	switch v := r[i].(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	}
	return nil
}
