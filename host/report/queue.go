package report

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// queue holds the reports that wait for one reporter. One goroutine takes them, as many at
// once as have gathered.
type queue struct {
	Member
	redact *redactor
	lost   func()        // is called after a report was lost
	done   chan struct{} // closed once the reporter is closed

	mu      sync.Mutex
	more    sync.Cond
	waiting []Report
	bytes   int
	taken   int // with the reporter right now
	closed  bool
	sent    uint64
	failed  uint64
	dropped uint64
	problem string
	told    struct{ failed, dropped uint64 } // in the log
}

func newQueue(m Member, lost func()) *queue {
	if m.Queue <= 0 {
		m.Queue = DefaultQueue
	}
	if m.Timeout <= 0 {
		m.Timeout = DefaultTimeout
	}
	q := &queue{Member: m, redact: newRedactor(!m.HideParams, m.Redact), lost: lost, done: make(chan struct{})}
	q.more.L = &q.mu
	return q
}

// size returns about how many bytes a report takes while it waits.
func size(r *Report) int {
	n := 512 + len(r.Message) + len(r.Stack) + len(r.Data)
	if r.Task != nil {
		n += len(r.Task.Params)
	}
	if r.Exit != nil {
		for _, line := range r.Exit.Stderr {
			n += len(line)
		}
	}
	return n
}

// put adds a report if there is room, else counts it.
func (q *queue) put(r Report) {
	n := size(&r)
	q.mu.Lock()
	full := q.closed || len(q.waiting) >= q.Queue || q.bytes+n > queueBytes && len(q.waiting) > 0
	if full {
		q.dropped++
	} else {
		q.waiting = append(q.waiting, r)
		q.bytes += n
		q.more.Signal()
	}
	q.mu.Unlock()
	if full {
		q.lost()
	}
}

// take waits for reports and returns at most n; false once the queue is closed and empty.
func (q *queue) take(n int) ([]Report, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 {
		if q.closed {
			return nil, false
		}
		q.more.Wait()
	}
	n = min(n, len(q.waiting))
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
	for i := range batch {
		q.bytes -= size(&batch[i])
	}
	q.taken = n
	return batch, true
}

// close says that no report follows.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Broadcast()
}

// run delivers reports until the queue is closed and empty, then closes the reporter. Once
// ctx has ended it only counts.
func (q *queue) run(ctx context.Context) {
	defer close(q.done)
	defer func() {
		if err := q.end(); err != nil {
			q.count(0, 0, 0, err)
		}
	}()
	for {
		batch, ok := q.take(batchMost)
		if !ok {
			return
		}
		if ctx.Err() != nil {
			q.count(0, 0, len(batch), errors.New("the host has ended before they could be delivered"))
			continue
		}
		lost, err := q.deliver(ctx, batch)
		lost = max(0, min(lost, len(batch)))
		q.count(len(batch)-lost, lost, 0, err)
	}
}

// deliver calls the reporter. A panic of it, or of the library behind it, is an error.
func (q *queue) deliver(ctx context.Context, batch []Report) (lost int, err error) {
	defer func() {
		if p := recover(); p != nil {
			lost, err = len(batch), fmt.Errorf("it panicked: %v", p)
		}
	}()
	for i := range batch {
		batch[i] = q.redact.report(batch[i])
	}
	ctx, cancel := context.WithTimeoutCause(ctx, q.Timeout, fmt.Errorf("no end after %v", q.Timeout))
	defer cancel()
	return q.Reporter.Report(ctx, batch)
}

func (q *queue) end() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it panicked: %v", p)
		}
	}()
	return q.Reporter.Close()
}

// count takes in what became of reports.
func (q *queue) count(sent, failed, dropped int, err error) {
	q.mu.Lock()
	q.taken = 0
	q.sent += uint64(sent)
	q.failed += uint64(failed)
	q.dropped += uint64(dropped)
	switch {
	case err != nil:
		q.problem = cut(err.Error(), maxText)
	case sent > 0:
		q.problem = ""
	}
	q.mu.Unlock()
	if failed+dropped > 0 {
		q.lost()
	}
}

func (q *queue) stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.statsLocked()
}

func (q *queue) statsLocked() Stats {
	return Stats{Name: q.Name, Kind: q.Kind, Waiting: len(q.waiting) + q.taken, Sent: q.sent, Failed: q.failed, Dropped: q.dropped, Problem: q.problem}
}

// news returns what was lost since the last call.
func (q *queue) news() (s Stats, failed, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	failed, dropped = q.failed-q.told.failed, q.dropped-q.told.dropped
	q.told.failed, q.told.dropped = q.failed, q.dropped
	return q.statsLocked(), failed, dropped
}
