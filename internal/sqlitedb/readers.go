package sqlitedb

import (
	"context"
	"errors"
	"fmt"
)

// maxReaders is how many connections for reading a file has at most.
const maxReaders = 4

// readers are the connections for reading. They see what is committed and never wait for
// the writer.
type readers struct {
	f    *file
	slot chan *Conn // a nil stands for a connection that is not open yet
	quit chan struct{}
}

func newReaders(f *file) *readers {
	r := &readers{f: f, slot: make(chan *Conn, maxReaders), quit: make(chan struct{})}
	for range maxReaders {
		r.slot <- nil
	}
	return r
}

// Read runs f in a transaction that can only read: all its statements see one state of the
// database. The end of ctx interrupts it.
func (db *DB) Read(ctx context.Context, f func(*Conn) error) error {
	if err := db.usable(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	rs := db.f.readers
	var c *Conn
	select {
	case c = <-rs.slot:
	case <-rs.quit:
		return fmt.Errorf("%s: %w", db.f.path, ErrClosed)
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { rs.slot <- c }()
	if c == nil {
		var err error
		if c, err = rs.connect(); err != nil {
			c = nil
			return describe(db.f.path, err)
		}
	}
	err := rs.transact(ctx, c, f)
	if primary, _ := code(err); primary != 0 {
		if ctx.Err() != nil {
			return ctx.Err() // the interrupt's own error says less
		}
		return describe(db.f.path, err)
	}
	return err
}

func (rs *readers) transact(ctx context.Context, c *Conn, f func(*Conn) error) error {
	if _, err := c.Exec("BEGIN"); err != nil {
		return err
	}
	c.ctx = ctx
	err := f(c)
	c.ctx = context.Background()
	_, cerr := c.Exec("COMMIT") // nothing was written; it only ends the transaction
	if cerr != nil {
		_, _ = c.Exec("ROLLBACK")
	}
	return err
}

func (rs *readers) connect() (*Conn, error) {
	c, err := connect(rs.f.path)
	if err != nil {
		return nil, err
	}
	for _, q := range []string{
		// Readers wait only for the moment in which another process opens or closes the file.
		fmt.Sprintf("PRAGMA busy_timeout = %d", rs.f.busyTimeout.Load()/1e6),
		"PRAGMA query_only = on",
		"PRAGMA temp_store = memory",
	} {
		if _, err := c.Exec(q); err != nil {
			_ = c.close()
			return nil, err
		}
	}
	return c, nil
}

// close waits for the reads under way and closes the connections.
func (rs *readers) close() error {
	close(rs.quit)
	var errs []error
	for range maxReaders {
		if c := <-rs.slot; c != nil {
			errs = append(errs, c.close())
		}
	}
	return errors.Join(errs...)
}
