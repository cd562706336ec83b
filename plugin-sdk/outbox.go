package sdk

import (
	"fmt"
	"sync"
	"time"

	"github.com/backplane/leptir/internal/pluginpb"
)

const (
	// maxBatchBytes is how many bytes of events, about, go into one message.
	maxBatchBytes = 1 << 20
	// maxProgressBytes is the longest text of a progress.
	maxProgressBytes = 1 << 10
	// fullBytes of waiting events hold up the start of the next task.
	fullBytes = 8 << 20
	// beat is how long results of short tasks may be held back for others to go with them, while
	// the process has more to do: to send one costs as much as tens of microseconds of work, and
	// disturbs the task that runs. Only results are held that the mark keeps. They leave with the
	// first result after the next beat of the clock, which is the same for all processes: the host
	// is woken once for what all of them have.
	beat = 30 * time.Millisecond
	// afterBeat is how long that first result is waited for.
	afterBeat = 2 * time.Millisecond
	// fewResults that leave together are worth that the next task waits for them to be sent.
	fewResults = 16
)

// outbox holds the events that wait to be sent to the host, in the order of their making.
// One goroutine sends them, each time all that has gathered. No event waits for another but
// results, as beat says.
type outbox struct {
	pushes pushes
	mark   *mark // of the process; nil if there is none

	mu       sync.Mutex
	more     sync.Cond // the sender waits for events
	less     sync.Cond // the executor waits for room
	waiting  []*pluginpb.Event
	sizes    []int // of the waiting events, about, in bytes
	spare    []*pluginpb.Event
	bytes    int // of all that wait
	logBytes int // of the log lines and error reports among them
	closed   bool
	broken   bool // nobody reads any more: drop everything

	results int         // of those that wait
	held    bool        // what waits are results that are held back
	release *time.Timer // ends that; nil before the first
	sent    time.Time   // when something was last taken to be sent

	allProgress bool // also what is out of date when it is sent

	progress  *pluginpb.Event // the progress that waits, if any
	dropped   int             // log lines and error reports since the last that was taken
	droppedOf string          // the task whose they are
}

func newOutbox(m *mark) *outbox {
	o := &outbox{mark: m}
	o.more.L, o.less.L = &o.mu, &o.mu
	return o
}

// put adds an event of about size bytes. It never blocks.
func (o *outbox) put(e *pluginpb.Event, size int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(e, size)
}

// putResult adds the result of a task, after which nothing of the task may follow. more is how
// many tasks the process has yet to run: the host hands it others when it hears of results, so
// that it must hear in time. It reports whether the result is about to be sent together with few
// others: of the shortest tasks there are many.
func (o *outbox) putResult(e *pluginpb.Event, size, more int) (leaving bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tellDropped()
	o.results++
	kept := o.mark.keep(e.GetResult())
	now := time.Now()
	lastBeat := now.Truncate(beat)
	if !kept || more <= o.results || len(o.waiting) > 0 && !o.held || lastBeat.After(o.sent) {
		o.add(e, size)
		return o.results <= fewResults
	}
	if !o.append(e, size) || o.held {
		return false
	}
	o.held = true
	if d := lastBeat.Add(beat + afterBeat).Sub(now); o.release == nil {
		o.release = time.AfterFunc(d, o.letGo)
	} else {
		o.release.Reset(d)
	}
	return false
}

// letGo sends what is held back.
func (o *outbox) letGo() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held {
		o.held = false
		o.more.Signal()
	}
}

// add appends with the lock held, and has all sent that waits.
func (o *outbox) add(e *pluginpb.Event, size int) {
	if o.append(e, size) && (o.held || len(o.waiting) == 1) {
		o.held = false
		o.more.Signal()
	}
}

// append appends with the lock held, unless nobody would send it.
func (o *outbox) append(e *pluginpb.Event, size int) bool {
	if o.broken || o.closed {
		return false
	}
	o.waiting = append(o.waiting, e)
	o.sizes = append(o.sizes, size)
	o.bytes += size
	return true
}

// putLog adds a log line if there is room, else counts it.
func (o *outbox) putLog(l *pluginpb.Log) {
	size := logSize(l)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.roomFor(l.Id, size) {
		o.addLog(l, size)
	}
}

// putReport adds a report of about size bytes to the error reporters as if it were a log
// line.
func (o *outbox) putReport(r *pluginpb.Report, size int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.roomFor(r.Id, size) {
		o.logBytes += size
		o.add(&pluginpb.Event{Kind: &pluginpb.Event_Report{Report: r}}, size)
	}
}

// roomFor reports whether a log line or error report of the task may wait; else it counts
// it as dropped.
func (o *outbox) roomFor(id string, size int) bool {
	if o.logBytes+size > MaxWaitingLogBytes {
		if o.droppedOf != id {
			o.tellDropped()
		}
		o.dropped++
		o.droppedOf = id
		return false
	}
	o.tellDropped()
	return true
}

func (o *outbox) addLog(l *pluginpb.Log, size int) {
	o.logBytes += size
	o.add(&pluginpb.Event{Kind: &pluginpb.Event_Log{Log: l}}, size)
}

// tellDropped adds the line that says how many are missing at this place.
func (o *outbox) tellDropped() {
	if o.dropped == 0 {
		return
	}
	l := &pluginpb.Log{
		Id: o.droppedOf, Time: time.Now().UnixNano(), Level: int32(levelWarning),
		Message: fmt.Sprintf("%d log lines dropped, error reports included: written faster than the host could read", o.dropped),
	}
	o.dropped, o.droppedOf = 0, ""
	o.addLog(l, logSize(l))
}

func logSize(l *pluginpb.Log) int { return 64 + len(l.Id) + len(l.Message) + len(l.Attrs) }

// putProgress adds a progress event, or brings the one of the task up to date that waits.
func (o *outbox) putProgress(p *pluginpb.Progress) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kind := &pluginpb.Event_Progress{Progress: p}
	if !o.allProgress && o.progress != nil && o.progress.GetProgress().Id == p.Id {
		o.progress.Kind = kind
		return
	}
	o.progress = &pluginpb.Event{Kind: kind}
	o.add(o.progress, 64+len(p.Id)+maxProgressBytes)
}

// waitForRoom blocks while more than fullBytes wait.
func (o *outbox) waitForRoom() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.bytes > fullBytes && !o.broken {
		o.less.Wait()
	}
}

// close says that no event follows; the sender ends when it has sent what waits.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tellDropped()
	o.closed = true
	o.more.Signal()
}

// breakOff drops what waits and all that follows: nobody reads any more.
func (o *outbox) breakOff() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.broken = true
	o.waiting, o.sizes, o.bytes, o.logBytes, o.progress = nil, nil, 0, 0, nil
	o.more.Signal()
	o.less.Broadcast()
}

// take waits for events and returns what one message can carry; false when no more come.
// The slice is the caller's until the next call.
func (o *outbox) take() ([]*pluginpb.Event, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for (len(o.waiting) == 0 || o.held) && !o.closed && !o.broken {
		o.more.Wait()
	}
	o.results, o.held, o.sent = 0, false, time.Now()
	if o.release != nil {
		o.release.Stop()
	}
	if len(o.waiting) == 0 {
		return nil, false
	}
	n, size := 0, 0
	for n < len(o.waiting) && (n == 0 || size+o.sizes[n] <= maxBatchBytes) {
		size += o.sizes[n]
		switch e := o.waiting[n]; {
		case e.GetLog() != nil, e.GetReport() != nil:
			o.logBytes -= o.sizes[n]
		case e == o.progress:
			o.progress = nil
		}
		n++
	}
	o.bytes -= size
	if o.bytes <= fullBytes {
		o.less.Broadcast()
	}
	if n < len(o.waiting) {
		batch := append(o.spare[:0], o.waiting[:n]...)
		o.spare = batch
		o.waiting = append(o.waiting[:0], o.waiting[n:]...)
		o.sizes = append(o.sizes[:0], o.sizes[n:]...)
		return batch, true
	}
	o.mark.turn() // the message before has been sent
	batch := o.waiting
	o.waiting, o.spare = o.spare[:0], batch
	o.sizes = o.sizes[:0]
	return batch, true
}

// sendAll sends the events until the outbox is closed, or send fails.
func (o *outbox) sendAll(send func(*pluginpb.PluginMessage) error) error {
	for {
		events, ok := o.take()
		if !ok {
			return nil
		}
		if err := send(&pluginpb.PluginMessage{Events: events}); err != nil {
			o.breakOff()
			return err
		}
		recycle(events)
	}
}

// results are the events of results that have been sent. At a few hundred thousand tasks a
// second they would be a third of all garbage. That gRPC has no further use of a message
// once it is sent holds as long as the server has no stats handler.
var results = sync.Pool{New: func() any {
	// In one piece of memory.
	r := new(struct {
		event  pluginpb.Event
		kind   pluginpb.Event_Result
		result pluginpb.Result
	})
	r.event.Kind, r.kind.Result = &r.kind, &r.result
	return &r.event
}}

// newResult returns an empty result and its event.
func newResult() (*pluginpb.Event, *pluginpb.Result) {
	e := results.Get().(*pluginpb.Event)
	return e, e.GetResult()
}

// recycle takes back the events of results and forgets the others.
func recycle(events []*pluginpb.Event) {
	for i, e := range events {
		if r := e.GetResult(); r != nil {
			r.Reset()
			results.Put(e)
		}
		events[i] = nil
	}
}

// pushes are the pushed tasks whose answers have not come.
type pushes struct {
	mu      sync.Mutex
	seq     uint64
	replies map[uint64]chan *pluginpb.PushReply
}

// expect gives p its number and returns where the answer will come.
func (p *pushes) expect(push *pluginpb.Push) <-chan *pluginpb.PushReply {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.replies == nil {
		p.replies = map[uint64]chan *pluginpb.PushReply{}
	}
	p.seq++
	push.Seq = p.seq
	reply := make(chan *pluginpb.PushReply, 1)
	p.replies[p.seq] = reply
	return reply
}

// forget ends the wait for an answer.
func (p *pushes) forget(seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.replies, seq)
}

// answer delivers an answer; one that nobody waits for any more is dropped.
func (p *pushes) answer(r *pluginpb.PushReply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reply, ok := p.replies[r.Seq]; ok {
		delete(p.replies, r.Seq)
		reply <- r
	}
}
