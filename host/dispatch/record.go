package dispatch

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backplane/leptir/task"
)

const (
	// recordsMost is the most records in one call of a store, entriesMost the most lots of
	// them that are taken at once to make such calls of.
	recordsMost = 1024
	entriesMost = 64
	// dropBacklog is how many records may wait for a store whose records may be dropped.
	dropBacklog = 100_000
)

// recorder writes records to all stores, each by a goroutine of its own, so that one that
// is down holds up only the tasks that must wait for it.
type recorder struct {
	writers []*writer
	wg      sync.WaitGroup
}

// entry is records on their way into one store. done, where set, is told how it ended.
type entry struct {
	records []task.Record
	done    *confirmation
}

// confirmation waits until every store that must has taken a record.
type confirmation struct {
	left   atomic.Int32
	failed atomic.Bool
	then   func(ok bool)
}

func (c *confirmation) add(ok bool) {
	if c == nil {
		return
	}
	if !ok {
		c.failed.Store(true)
	}
	if c.left.Add(-1) == 0 {
		c.then(!c.failed.Load())
	}
}

type writer struct {
	Store
	logger *slog.Logger
	queue  *mailbox[entry]

	waiting  atomic.Int64
	dropped  atomic.Int64
	failures atomic.Int64
	mu       sync.Mutex
	problem  string
}

func newRecorder(ctx context.Context, stores []Store, logger *slog.Logger) *recorder {
	r := &recorder{}
	for _, s := range stores {
		w := &writer{Store: s, logger: logger, queue: newMailbox[entry]()}
		r.writers = append(r.writers, w)
		r.wg.Go(func() { w.loop(ctx) })
	}
	return r
}

// close writes what waits, each store as long as it takes it, and ends.
func (r *recorder) close() {
	for _, w := range r.writers {
		w.queue.close()
	}
	r.wg.Wait()
}

// put records, and calls then once every store has the records that must have them, or
// can't have them any more because the host ends. then must not block.
func (r *recorder) put(records []task.Record, then func(ok bool)) {
	var c *confirmation
	if then != nil {
		c = &confirmation{then: then}
		c.left.Store(1)
	}
	for _, w := range r.writers {
		if w.Drop && w.waiting.Load() > dropBacklog {
			w.dropped.Add(int64(len(records)))
			continue
		}
		e := entry{records: records}
		if c != nil && !w.Drop && len(records) > 0 {
			c.left.Add(1)
			e.done = c
		}
		w.waiting.Add(int64(len(records)))
		w.queue.put(e)
	}
	c.add(true)
}

func (w *writer) loop(ctx context.Context) {
	var err error
	for {
		batch, ok := w.queue.take(entriesMost)
		if !ok {
			return
		}
		records := gather(batch)
		for chunk := range slices.Chunk(records, recordsMost) {
			// It fails only when the host ends; then all that follows has failed, too: a
			// confirmation stands for all before it, and a store that hangs is not waited
			// for again and again.
			if err == nil {
				err = w.write(ctx, chunk)
			}
		}
		w.waiting.Add(-int64(len(records)))
		for i := range batch {
			if batch[i].done != nil {
				batch[i].done.add(err == nil)
			}
		}
	}
}

// gather returns the records of all entries.
func gather(batch []entry) []task.Record {
	if len(batch) == 1 {
		return batch[0].records
	}
	n := 0
	for i := range batch {
		n += len(batch[i].records)
	}
	records := make([]task.Record, 0, n)
	for i := range batch {
		records = append(records, batch[i].records...)
	}
	return records
}

// write puts records, trying again until the store takes them or the host ends.
func (w *writer) write(ctx context.Context, records []task.Record) error {
	for try := 0; ; try++ {
		var err error
		if len(records) > 0 {
			call, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
			err = w.Store.Store.Put(call, records)
			cancel()
		}
		if err == nil {
			if try > 0 {
				w.logger.Info("meta storage is back", "store", w.Name)
				w.setProblem("")
			}
			return nil
		}
		w.failures.Add(1)
		w.setProblem(err.Error())
		if try == 0 || try%20 == 0 {
			w.logger.Error("meta storage fails; it will be tried again", "store", w.Name, "error", err, "records", len(records),
				"tasks", map[bool]string{true: "are settled all the same", false: "are not settled before"}[w.Drop])
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(min(retryMost, retryFirst<<min(try, 10))):
		}
		if try >= 2 {
			records = w.isolate(ctx, records)
		}
	}
}

// isolate writes records one by one, so that one that the store refuses for good, for what
// a task's additional meta info holds, does not keep the others from being written. Such a
// record is written without that. It returns what is left: all of it where nothing can be
// written at all.
func (w *writer) isolate(ctx context.Context, records []task.Record) (left []task.Record) {
	put := func(r task.Record) error {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return w.Store.Store.Put(call, []task.Record{r})
	}
	for i, r := range records {
		err := put(r)
		if err != nil && (r.Meta != nil || r.Run.Result != nil) {
			bare := r
			bare.Meta, bare.Run.Result = nil, nil
			bare.Run.Note = clip("additional meta info and result value left out: the meta storage refuses them: "+err.Error(), maxReason)
			if put(bare) == nil {
				w.logger.Warn("record written without its additional meta info and result value, which the meta storage refuses", "store", w.Name, "task", r.ID, "error", err)
				continue
			}
		}
		if err != nil {
			if len(left) == i && i > 0 || ctx.Err() != nil {
				return append(left, records[i:]...) // nothing gets through: it is down
			}
			left = append(left, r)
		}
	}
	return left
}

func (w *writer) setProblem(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problem = s
}

// StoreStatus is a look at one store, as this host sees it.
type StoreStatus struct {
	Name    string `json:"name"`
	Waiting int64  `json:"waiting"` // records not written yet
	Dropped int64  `json:"dropped"`
	// Failures is how many writes have failed; each is tried again.
	Failures int64  `json:"failures"`
	Problem  string `json:"problem,omitempty"`
}

func (r *recorder) status() (all []StoreStatus) {
	for _, w := range r.writers {
		w.mu.Lock()
		all = append(all, StoreStatus{Name: w.Name, Waiting: w.waiting.Load(), Dropped: w.dropped.Load(), Failures: w.failures.Load(), Problem: w.problem})
		w.mu.Unlock()
	}
	return all
}

// get returns tasks' records, each from the first store that has one. The error is that of
// a store that might have had one of those that are missing.
func (r *recorder) get(ctx context.Context, ids []task.ID) (known map[task.ID]task.Record, err error) {
	known = map[task.ID]task.Record{}
	for _, w := range r.writers {
		var missing []task.ID
		for _, id := range ids {
			if _, ok := known[id]; !ok {
				missing = append(missing, id)
			}
		}
		if len(missing) == 0 {
			return known, nil
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		recs, gerr := w.Store.Store.Get(call, missing)
		cancel()
		if gerr != nil {
			err = gerr
		}
		for _, rec := range recs {
			known[rec.ID] = rec
		}
	}
	return known, err
}
