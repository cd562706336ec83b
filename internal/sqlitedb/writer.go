package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"
)

// maxGroup is how many writes one transaction takes at most.
const maxGroup = 128

// writer carries out the writes of a process on one connection. Writes that arrive while
// it is busy are committed together: under load that is most of the speed.
type writer struct {
	f    *file
	c    *Conn
	full bool // as set on the connection

	queue chan *write
	quit  chan struct{} // closed by close
	done  chan struct{} // closed when run has ended
	err   error         // of closing the connection; read after done
}

// write is one call of DB.Write.
type write struct {
	run   func(*Conn) error
	since time.Time // when it was called
	// taken decides between the writer, which is about to run it, and the caller, who is
	// about to leave: the first to set it wins.
	taken    atomic.Bool
	err      error
	announce bool
	finished chan struct{} // closed by the writer when err stands
}

func newWriter(f *file, c *Conn) *writer {
	w := &writer{f: f, c: c, queue: make(chan *write, maxGroup), quit: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

// Write runs f in a transaction that is committed when Write returns nil, and undone when
// it returns an error. f sees what was committed before. It must do nothing but work on
// the connection, and must leave nothing behind when it is called again: that happens if
// others in the same transaction spoil it.
//
// When ctx ends before the write has begun, it will not begin. When ctx ends later, Write
// waits a second for the outcome before it leaves; the write is then done whole or not at
// all.
func (db *DB) Write(ctx context.Context, f func(*Conn) error) error {
	if err := db.usable(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	w := db.f.writer
	r := &write{run: f, since: time.Now(), finished: make(chan struct{})}
	select {
	case w.queue <- r:
	case <-w.quit:
		return fmt.Errorf("%s: %w", db.f.path, ErrClosed)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-r.finished:
		return r.err
	case <-w.done: // it was put into the queue when nobody read it any more, or the very last
		select {
		case <-r.finished:
			return r.err
		default:
			return fmt.Errorf("%s: %w", db.f.path, ErrClosed)
		}
	case <-ctx.Done():
	}
	if r.taken.CompareAndSwap(false, true) {
		return ctx.Err()
	}
	select {
	case <-r.finished:
		return r.err
	case <-time.After(time.Second):
		return ctx.Err()
	}
}

// close ends the writer after the transaction that it is in; what waits gets ErrClosed.
func (w *writer) close() error {
	close(w.quit)
	<-w.done
	return w.err
}

func (w *writer) run() {
	defer close(w.done)
	defer func() { w.err = w.c.close() }()
	for {
		select {
		case <-w.quit:
			return
		case first := <-w.queue:
			w.transact(first)
		}
	}
}

// transact runs a write, and all that wait behind it, in one transaction.
func (w *writer) transact(first *write) {
	if err := w.begin(first.since, &first.taken); err != nil {
		if first.taken.CompareAndSwap(false, true) {
			first.finish(err)
		}
		return
	}
	group := make([]*write, 0, 8)
	var spoiled error
	for r := first; r != nil; r = w.next(len(group)) {
		if !r.taken.CompareAndSwap(false, true) {
			continue // its caller has left
		}
		group = append(group, r)
		if spoiled = w.runOne(r); spoiled != nil {
			break
		}
	}
	if spoiled == nil {
		_, spoiled = w.c.Exec("COMMIT")
	}
	if spoiled == nil {
		for _, r := range group {
			if r.announce && r.err == nil {
				w.f.watch.announce()
				break
			}
		}
		for _, r := range group {
			r.finish(r.err)
		}
		return
	}
	_, _ = w.c.Exec("ROLLBACK") // fails where SQLite has rolled back by itself
	if len(group) == 1 {
		group[0].finish(describe(w.f.path, spoiled))
		return
	}
	// One of them has spoiled it for all, for example by being too large for what is left
	// of the disk: each once more, alone.
	for _, r := range group {
		w.alone(r)
	}
}

// next returns the next write that waits, nil if there is none or the group is full. On a
// busy machine many are about to: it lets them go first, once, because sharing a commit
// saves more than that costs.
func (w *writer) next(taken int) *write {
	if taken >= maxGroup {
		return nil
	}
	for range 2 {
		select {
		case r := <-w.queue:
			return r
		default:
			runtime.Gosched()
		}
	}
	return nil
}

// runOne runs a write that has been taken, within the transaction of a group. It notes an
// error of the write's own in it, with its effects undone; an error that it returns has
// spoiled the transaction.
func (w *writer) runOne(r *write) (spoiled error) {
	if _, err := w.c.Exec("SAVEPOINT one"); err != nil {
		return err
	}
	w.c.announce = false
	r.err = r.run(w.c)
	r.announce = w.c.announce
	if r.err == nil {
		_, err := w.c.Exec("RELEASE one")
		return err
	}
	if spoils(r.err) {
		return r.err
	}
	if primary, _ := code(r.err); primary != 0 {
		r.err = describe(w.f.path, r.err)
	}
	if _, err := w.c.Exec("ROLLBACK TO one"); err != nil {
		return err
	}
	_, err := w.c.Exec("RELEASE one")
	return err
}

// alone runs a write that has been taken in a transaction of its own.
func (w *writer) alone(r *write) {
	err := w.begin(time.Now(), nil)
	if err != nil {
		r.finish(err)
		return
	}
	if err = w.runOne(r); err == nil {
		if _, err = w.c.Exec("COMMIT"); err == nil {
			if r.announce && r.err == nil {
				w.f.watch.announce()
			}
			r.finish(r.err)
			return
		}
	}
	_, _ = w.c.Exec("ROLLBACK")
	r.finish(describe(w.f.path, err))
}

// finish hands the outcome to the caller.
func (r *write) finish(err error) {
	r.err = err
	close(r.finished)
}

// errLeft is begin's error when nobody waits for it any more.
var errLeft = errors.New("the caller has left")

// begin gets the lock that only one process has at a time. It tries again in short, uneven
// steps, so that processes take turns; SQLite's own waiting, up to 100 ms a step, lets the
// busier one starve the other. since is when the waiting began; left, if not nil, says that
// it is in vain.
func (w *writer) begin(since time.Time, left *atomic.Bool) error {
	if full := w.f.full.Load(); full != w.full {
		if _, err := w.c.Exec("PRAGMA synchronous = full"); err != nil {
			return describe(w.f.path, err)
		}
		w.full = full
	}
	for step := 100 * time.Microsecond; ; step = min(2*step, 4*time.Millisecond) {
		_, err := w.c.Exec("BEGIN IMMEDIATE")
		if err == nil {
			return nil
		}
		if !isBusy(err) {
			return describe(w.f.path, err)
		}
		if waited := time.Since(since); waited >= time.Duration(w.f.busyTimeout.Load()) {
			return locked(w.f.path, waited)
		}
		if left != nil && left.Load() {
			return errLeft
		}
		select {
		case <-time.After(step/2 + rand.N(step)):
		case <-w.quit:
			return fmt.Errorf("%s: %w", w.f.path, ErrClosed)
		}
	}
}
