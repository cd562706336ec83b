package report

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	// DefaultQueue is how many reports may wait for one reporter, DefaultTimeout how long
	// it may take for a batch.
	DefaultQueue   = 1000
	DefaultTimeout = 30 * time.Second

	// batchMost is the most reports in one call of a reporter.
	batchMost = 100
	// queueBytes is what the reports that wait for one reporter may take, about.
	queueBytes = 16 << 20
	// tellEvery is how often the log tells of reports that were lost.
	tellEvery = time.Minute
	// abandonAfter is how long a reporter may take to return after its context has ended
	// before it is left behind.
	abandonAfter = 2 * time.Second
)

// Member is one reporter of a Hub, as configured.
type Member struct {
	// Name and Kind are as in the configuration.
	Name, Kind string
	// Queue is how many reports may wait for it; 0 means DefaultQueue.
	Queue int
	// Timeout is how long it may take for a batch; 0 means DefaultTimeout.
	Timeout time.Duration
	// Redact are words that hide a value, beside DefaultRedact.
	Redact []string
	// HideParams says that it is not shown the parameters of tasks.
	HideParams bool
	Reporter   Reporter
}

// Stats is a look at one reporter.
type Stats struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Waiting counts what waits in its queue or is being delivered, Sent what has been.
	Waiting int    `json:"waiting"`
	Sent    uint64 `json:"sent"`
	// Failed counts reports that the reporter could not deliver, Dropped those for which
	// there was no room in its queue, or no time at the host's end.
	Failed  uint64 `json:"failed"`
	Dropped uint64 `json:"dropped"`
	// Problem is what went wrong last, empty once a report has been delivered again.
	Problem string `json:"problem,omitempty"`
}

// Hub hands every report to all reporters. It is safe for concurrent use.
type Hub struct {
	host    string
	logger  *slog.Logger
	queues  []*queue
	ctx     context.Context // of the calls of reporters
	stop    context.CancelFunc
	trouble chan struct{} // signalled when a report is lost
	quit    chan struct{} // ends the telling
	wg      sync.WaitGroup
	closing sync.Once
}

// NewHub starts the delivery to the members, which from now on are the hub's to close. The
// logger gets, at most once a minute for each reporter, how many reports were lost.
func NewHub(host string, logger *slog.Logger, members ...Member) *Hub {
	h := &Hub{host: host, logger: logger, trouble: make(chan struct{}, 1), quit: make(chan struct{})}
	h.ctx, h.stop = context.WithCancel(context.Background())
	for _, m := range members {
		q := newQueue(m, h.lost)
		h.queues = append(h.queues, q)
		go q.run(h.ctx)
	}
	h.wg.Go(h.tell)
	return h
}

// Report hands r to all reporters. It never blocks: where a queue is full, r is dropped for
// that reporter, and counted. What r points to must not be changed any more.
func (h *Hub) Report(r Report) {
	if len(h.queues) == 0 {
		return
	}
	if r.ID == "" {
		r.ID = newID()
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Time = r.Time.UTC()
	if r.Host == "" {
		r.Host = h.host
	}
	for _, q := range h.queues {
		q.put(r)
	}
}

func newID() string {
	id, err := uuid.NewV7()
	if err != nil {
		id = uuid.New()
	}
	return id.String()
}

// Stats returns the reporters' present state, in the order of the members.
func (h *Hub) Stats() []Stats {
	all := make([]Stats, len(h.queues))
	for i, q := range h.queues {
		all[i] = q.stats()
	}
	return all
}

// Close delivers what waits, until ctx ends, and closes the reporters. What could not be
// delivered by then is dropped, counted and told in the log. A reporter that does not
// return all the same is left behind. Reports that come later are dropped.
func (h *Hub) Close(ctx context.Context) {
	h.closing.Do(func() {
		for _, q := range h.queues {
			q.close()
		}
		wait := func(until <-chan struct{}) {
			for _, q := range h.queues {
				select {
				case <-q.done:
				case <-until:
					return
				}
			}
		}
		wait(ctx.Done())
		h.stop()
		grace, cancel := context.WithTimeout(context.Background(), abandonAfter)
		defer cancel()
		wait(grace.Done())
		close(h.quit)
		h.wg.Wait()
		for _, q := range h.queues {
			select {
			case <-q.done:
			default:
				h.logger.Error("error reporter does not return; left behind with what it had", "reporter", q.Name, "kind", q.Kind, "reports", q.stats().Waiting)
			}
		}
	})
}

// lost says that a report was lost.
func (h *Hub) lost() {
	select {
	case h.trouble <- struct{}{}:
	default:
	}
}

// tell logs what was lost, at once and then once a period, and what is left at the end.
func (h *Hub) tell() {
	period := time.NewTimer(0)
	defer period.Stop()
	for {
		select {
		case <-h.quit:
			h.tellAll()
			return
		case <-period.C:
		}
		select {
		case <-h.quit:
			h.tellAll()
			return
		case <-h.trouble:
			h.tellAll()
		}
		period.Reset(tellEvery)
	}
}

func (h *Hub) tellAll() {
	for _, q := range h.queues {
		if s, failed, dropped := q.news(); failed+dropped > 0 {
			h.logger.Error("error reports are lost", "reporter", s.Name, "kind", s.Kind, "not_delivered", failed, "no_room", dropped,
				"since_start", s.Failed+s.Dropped, "problem", s.Problem)
		}
	}
}
