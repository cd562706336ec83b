package logging

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// queueLines and queueBytes bound the lines that wait for an output. Lines of the
	// level error have a quarter more room, so that a flood of others does not cost them.
	queueLines = 8192
	queueBytes = 4 << 20
	// flushTime is how long Close waits for the lines that have not been written yet, and
	// abandonTime how long it waits then for the writing to be given up.
	flushTime   = 2 * time.Second
	abandonTime = 200 * time.Millisecond
)

// entryWriter is an output that may stand still. One goroutine at a time calls it.
type entryWriter interface {
	// write writes an entry, however long it takes; the end of ctx ends the trying.
	write(ctx context.Context, e entry) error
	close() error
}

// queued is a sink whose lines are written by a goroutine of its own, so that an output
// that stands still (a terminal that was stopped, a pipe that nobody reads, a syslog that
// hangs) holds up nobody. Lines that find no room are dropped and counted, and a line in
// their place says how many.
type queued struct {
	*handler
	w      entryWriter
	name   string
	errors atomic.Uint64

	wake chan struct{}
	done chan struct{} // closed when the goroutine has ended
	stop context.CancelFunc

	mu      sync.Mutex
	entries []entry
	bytes   int
	dropped uint64 // and not told of yet
	closed  bool
}

func newQueued(h *handler, w entryWriter, name string) *queued {
	q := &queued{handler: h, w: w, name: name, wake: make(chan struct{}, 1), done: make(chan struct{})}
	h.out = q
	ctx, stop := context.WithCancel(context.Background())
	q.stop = stop
	go q.run(ctx)
	return q
}

// WriteErrors returns how many lines could not be written or were dropped.
func (q *queued) WriteErrors() uint64 { return q.errors.Load() }

func (q *queued) take(e entry) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.errors.Add(1)
		return errSinkClosed
	}
	lines, bytes := queueLines, queueBytes
	if e.level >= slog.LevelError {
		lines, bytes = lines+lines/4, bytes+bytes/4
	}
	if len(q.entries) >= lines || q.bytes+len(e.line) > bytes {
		q.errors.Add(1)
		q.dropped++
		return nil // it is told of
	}
	if notice, ok := q.notice(); ok {
		q.add(notice)
	}
	q.add(e)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// add puts an entry into the queue. q.mu is held.
func (q *queued) add(e entry) {
	q.entries = append(q.entries, e)
	q.bytes += len(e.line)
}

// notice returns a line about what has been dropped since the last one, if something has.
// q.mu is held.
func (q *queued) notice() (entry, bool) {
	if q.dropped == 0 {
		return entry{}, false
	}
	r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were dropped here: the "+q.name+" did not take them fast enough", 0)
	r.AddAttrs(slog.Uint64("lines", q.dropped))
	own := *q.handler
	own.with = nil
	e, err := own.entry(context.Background(), r)
	q.dropped = 0
	return e, err == nil
}

// next returns the entries that wait, in their order; false if there will be none any more.
func (q *queued) next() ([]entry, bool) {
	for {
		q.mu.Lock()
		got := q.entries
		q.entries, q.bytes = nil, 0
		if len(got) == 0 {
			if notice, ok := q.notice(); ok {
				got = []entry{notice}
			}
		}
		closed := q.closed
		q.mu.Unlock()
		if len(got) > 0 {
			return got, true
		}
		if closed {
			return nil, false
		}
		<-q.wake
	}
}

func (q *queued) run(ctx context.Context) {
	defer close(q.done)
	for {
		entries, ok := q.next()
		if !ok {
			return
		}
		for _, e := range entries {
			if err := q.w.write(ctx, e); err != nil {
				q.errors.Add(1)
			}
		}
	}
}

// Close waits for the lines that have not been written yet, for 2 seconds at the most. An
// error says how many are lost.
func (q *queued) Close() error {
	q.mu.Lock()
	again := q.closed
	q.closed = true
	q.mu.Unlock()
	if again {
		q.ended(flushTime + abandonTime)
		return nil
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	before := q.errors.Load()
	q.ended(flushTime)
	q.stop()
	if !q.ended(abandonTime) {
		// It is in a system call that cannot be interrupted; the program is about to end.
		return fmt.Errorf("log lines are lost: the %s does not take them", q.name)
	}
	err := q.w.close()
	if n := q.errors.Load() - before; n > 0 {
		return fmt.Errorf("%d log lines are lost: the %s does not take them", n, q.name)
	}
	return err
}

// ended reports whether the goroutine has ended, within some time.
func (q *queued) ended(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-q.done:
		return true
	case <-timer.C:
		return false
	}
}
