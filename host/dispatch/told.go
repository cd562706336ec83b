package dispatch

import (
	"math"
	"sync"
	"time"

	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

// tellEvery is how often, at most, what a running task tells of itself is written into its
// record.
const tellEvery = time.Second

// told is what a running task has told of itself. The zero value is ready for use.
type told struct {
	mu       sync.Mutex
	running  *task.Record // its record while it runs, once it has been written
	ended    bool         // its last record is on its way: no other may follow
	progress *task.Progress
	states   []int
}

// begun takes in that the record has been written that says that the task runs, and fills
// in what has been told by then.
func (t *told) begun(rec *task.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fill(rec)
	t.running = rec
}

// fill is called with the lock held.
func (t *told) fill(rec *task.Record) {
	rec.Run.Progress, rec.Run.States = t.progress, t.states[:len(t.states):len(t.states)]
}

// moved takes in what the task has told. It reports whether its record is to be written
// anew.
func (t *told) moved(p *task.Progress, state *int32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p != nil {
		t.progress = p
	}
	if state != nil && len(t.states) < maxStates {
		t.states = append(t.states, int(*state))
	}
	return t.running != nil && !t.ended
}

// last ends the telling: no record but the last one follows.
func (t *told) last() (*task.Progress, []int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	return t.progress, t.states
}

// telling is the tasks that have told something that their records do not say yet.
type telling struct {
	mu    sync.Mutex
	tasks map[*delivery]struct{}
}

func (t *telling) add(dv *delivery) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tasks == nil {
		t.tasks = map[*delivery]struct{}{}
	}
	t.tasks[dv] = struct{}{}
}

func (t *telling) take() map[*delivery]struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.tasks
	t.tasks = nil
	return all
}

// tell writes down, from time to time, what running tasks tell of themselves.
func (d *Dispatcher) tell() {
	every := time.NewTicker(tellEvery)
	defer every.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-every.C:
		}
		for dv := range d.telling.take() {
			if !dv.source.stillOurs(dv, time.Now()) {
				continue
			}
			dv.told.mu.Lock()
			if !dv.told.ended {
				rec := *dv.told.running
				dv.told.fill(&rec)
				// Under the lock, so that it stands in the queue before the last record.
				d.stores.put([]task.Record{rec}, nil)
			}
			dv.told.mu.Unlock()
		}
	}
}

// State takes in that a task has changed its state.
func (o *Observer) State(job *pool.Job, s *pluginpb.State) {
	state := s.GetState()
	o.moved(job, nil, &state)
}

// Progress takes in how far a task is, as it says.
func (o *Observer) Progress(job *pool.Job, p *pluginpb.Progress) {
	o.moved(job, ProgressOf(p), nil)
}

func (o *Observer) moved(job *pool.Job, p *task.Progress, state *int32) {
	if dv, ok := job.Tag.(*delivery); ok && dv.told.moved(p, state) {
		dv.source.d.telling.add(dv)
	}
}

// ProgressOf takes in what a plugin, an untrusted process, says of its task.
func ProgressOf(p *pluginpb.Progress) *task.Progress {
	f := p.GetFraction()
	if math.IsNaN(f) {
		f = 0
	}
	return &task.Progress{Fraction: max(0, min(1, f)), Text: clip(p.GetText(), maxReason)}
}
