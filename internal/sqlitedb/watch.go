package sqlitedb

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// fallbackPoll is how often a waiter looks by itself, for file systems and machines
	// that do not tell of changes.
	fallbackPoll = time.Second
	// busyLook is the least time between two looks of a waiter, so that a file that is written
	// to all the time does not keep it busy, as by a host that has leased all there is and
	// records how it goes; soonLook that of the first ones after a while of peace, as the
	// notifications of one push come in a burst. It doubles from the one to the other.
	soonLook = 100 * time.Microsecond
	busyLook = 8 * time.Millisecond
	// lookAgain is how long after a change that has shown nothing a waiter looks again,
	// then after twice as long, and so on: the operating system tells of a write to the log
	// a moment before SQLite lets others see what was written.
	lookAgain = time.Millisecond
)

// pace is how often a waiter looks.
type pace struct {
	least time.Duration // between this look and the next
	most  time.Duration // the same, if nothing changes
}

// newPace begins as after a change: there may have been one just before.
func newPace() pace { return pace{soonLook, lookAgain} }

// looked takes in why the last look was taken: because of a change, or because it was time.
func (p *pace) looked(changed bool) {
	if changed {
		p.least, p.most = min(2*p.least, busyLook), lookAgain
		return
	}
	if p.most > 16*lookAgain {
		p.least = soonLook
	}
	p.most = min(2*p.most, fallbackPoll)
}

// watch tells of changes to a file: of announced ones in this process, and of all that
// other processes write, by the notifications of the operating system on the write-ahead
// log. It asks for those only while somebody waits.
type watch struct {
	log string // path of the write-ahead log

	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, at a change
	waiters int
	notify  *fsnotify.Watcher // nil before the first waiter, and where there is none to be had
	tried   bool
	closed  bool

	quit chan struct{} // closed by close
	wg   sync.WaitGroup
}

func newWatch(log string) *watch {
	return &watch{log: log, changed: make(chan struct{}), quit: make(chan struct{})}
}

// Wait returns nil as soon as something is due: due returns how long that will be if
// nothing changes, and is called again after every change, also by other processes. It
// returns the error of due, or ctx's error when that ends first.
func (db *DB) Wait(ctx context.Context, due func(context.Context) (time.Duration, error)) error {
	if err := db.usable(ctx); err != nil {
		return err
	}
	w := db.f.watch
	w.join()
	defer w.leave()
	for p := newPace(); ; {
		changed := w.next() // before looking, so that no change falls between
		d, err := due(ctx)
		if err != nil {
			return err
		}
		if d <= 0 {
			return nil
		}
		if _, err := db.pause(ctx, min(d, p.least), nil); err != nil {
			return err
		}
		news, err := db.pause(ctx, min(d, p.most)-p.least, changed)
		if err != nil {
			return err
		}
		p.looked(news)
	}
}

// pause waits for d, for changed (then it reports true), or for the end of it all.
func (db *DB) pause(ctx context.Context, d time.Duration, changed <-chan struct{}) (bool, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false, nil
	case <-changed:
		return true, nil
	case <-db.closed:
		return false, fmt.Errorf("%s: %w", db.f.path, ErrClosed)
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// next returns the channel that is closed at the next change.
func (w *watch) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// announce wakes all who wait.
func (w *watch) announce() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiters > 0 {
		close(w.changed)
		w.changed = make(chan struct{})
	}
}

// join counts a waiter in; with the first, the watching begins.
func (w *watch) join() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiters++
	if w.waiters > 1 || w.closed {
		return
	}
	if !w.tried {
		w.tried = true
		if n, err := fsnotify.NewWatcher(); err == nil {
			w.notify = n
			w.wg.Go(func() { w.listen(n) })
		}
	}
	if w.notify != nil {
		_ = w.notify.Add(w.log) // where it fails, the fallback poll does
	}
}

// leave counts a waiter out.
func (w *watch) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiters--
	if w.waiters == 0 && w.notify != nil {
		_ = w.notify.Remove(w.log)
	}
}

// listen turns the operating system's notifications into announcements.
func (w *watch) listen(n *fsnotify.Watcher) {
	for {
		select {
		case _, ok := <-n.Events:
			if !ok {
				return
			}
			w.announce()
		case _, ok := <-n.Errors:
			if !ok {
				return
			}
			w.announce() // events may have been dropped
		case <-w.quit:
			return
		}
	}
}

// close ends the watching and waits for it.
func (w *watch) close() {
	close(w.quit)
	w.mu.Lock()
	n := w.notify
	w.notify, w.closed = nil, true
	w.mu.Unlock()
	if n != nil {
		_ = n.Close()
	}
	w.wg.Wait()
}
