package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
	"github.com/backplane/leptir/torture/journal"
)

// evidence is all that is known when a run is over.
type evidence struct {
	orders  []order
	pushed  map[task.ID]time.Time // those that the queue has said it has
	again   map[task.ID]bool      // pushed more than once
	asked   map[task.ID]time.Time // since when the queue was asked to take it, the last time
	runs    []journal.Run
	stores  []string
	records []map[task.ID]task.Record // of each store
	queued  map[task.ID]brokers.Item  // neither settled nor dead
	dead    map[task.ID][]brokers.Item
	struck  []struck
	lease   time.Duration
	noIDs   bool // the queue does not know whether it has an id already
	file    bool // the hosts share the queue's file
	// slow holds, of a run beside others on a busy machine, when hosts have said that they
	// had lost the lease of a task.
	slow map[task.ID][]time.Time

	// Of a child, the runs of its parent; made by verify.
	pushers map[task.ID][]journal.Run
}

// settling is how long after its end a run can still be in flight: its result is on the way
// to the host, its record to the stores, its settlement to the queue.
const settling = time.Second

const (
	// limitOfTasks is the time limit of all tasks, timeLimit how long a run may last at most
	// by what is seen of it.
	limitOfTasks = 8 * time.Second
	timeLimit    = limitOfTasks + 2*time.Second
)

// mostRest is how long a host waits at most before it tries a store or a queue again.
const mostRest = 10 * time.Second

// verdict is what the evidence shows.
type verdict struct {
	pushed, children, recorded int
	lost, stuck, wrong         []string
	deadLetters                int
	wrongDead                  []string // dead letters that should not be
	runs                       int
	extra                      []extra // runs that no failure asked for
	overlaps                   int     // of them, those that began while another run of the task went on
	inFlight                   int     // tasks in flight at the faults, by the journals
	held                       int64   // tasks held at the faults' beginnings, by the queue
	retries                    int     // runs that a failure asked for
	died                       int     // runs that never told their end
}

// extra is a run of a task that had a run of the same attempt before, or one that ended well.
type extra struct {
	run, before journal.Run
	cause       string // "" where nobody knows one
}

// good reports whether the verdict is that nothing went wrong.
func (v *verdict) good() bool {
	return len(v.lost)+len(v.stuck)+len(v.wrong)+len(v.wrongDead) == 0 && len(v.extra) <= v.inFlight && v.unexplained() == 0
}

func (v *verdict) unexplained() (n int) {
	for _, e := range v.extra {
		if e.cause == "" {
			n++
		}
	}
	return n
}

// verify judges the evidence.
func verify(e *evidence) *verdict {
	v := &verdict{pushed: len(e.pushed), runs: len(e.runs)}
	byTask := map[task.ID][]journal.Run{}
	for _, r := range e.runs {
		byTask[task.ID(r.Task)] = append(byTask[task.ID(r.Task)], r)
		if r.Outcome == "" {
			v.died++
		}
	}
	for _, runs := range byTask {
		slices.SortFunc(runs, func(a, b journal.Run) int { return a.Begin.Compare(b.Begin) })
	}
	expected := map[task.ID]*order{}
	e.pushers = map[task.ID][]journal.Run{}
	for i := range e.orders {
		o := &e.orders[i]
		if _, ok := e.pushed[o.id]; ok {
			expected[o.id] = o
		}
		if child := task.ID(o.params.Child); child != "" {
			// It must have been pushed if its parent ended well, and may have been else.
			e.pushers[child] = byTask[o.id]
			for _, r := range byTask[o.id] {
				if r.Outcome == journal.OK || len(byTask[child]) > 0 {
					expected[child] = &order{id: child, kind: "quick"}
				}
			}
			if expected[child] != nil {
				v.children++
			}
		}
	}
	for id := range byTask {
		if expected[id] == nil {
			v.wrong = append(v.wrong, fmt.Sprintf("%s: it ran, and nobody has heard that it was pushed", id))
		}
	}
	ids := make([]task.ID, 0, len(expected))
	for id := range expected {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		v.one(e, expected[id], byTask[id])
	}
	for id := range e.queued {
		v.stuck = append(v.stuck, fmt.Sprintf("%s: it is still in the queue, %s", id, e.queued[id].State))
	}
	for id, items := range e.dead {
		v.deadLetters += len(items)
		if o := expected[id]; o == nil || !o.params.GiveUp {
			v.wrongDead = append(v.wrongDead, fmt.Sprintf("%s: it is among the dead letters: %v", id, items[0].History))
		} else if len(items) > 1 && !e.again[id] {
			v.wrongDead = append(v.wrongDead, fmt.Sprintf("%s: it is among the dead letters %d times", id, len(items)))
		}
	}
	v.weigh(e, byTask)
	return v
}

// one judges one task.
func (v *verdict) one(e *evidence, o *order, runs []journal.Run) {
	v.again(e, o, runs)
	found := 0
	for i, records := range e.records {
		rec, ok := records[o.id]
		if !ok {
			continue
		}
		found++
		if problem := e.contradiction(o, &rec, runs); problem != "" {
			v.wrong = append(v.wrong, fmt.Sprintf("%s: record in %s: %s (%s)", o.id, e.stores[i], problem, brief(&rec)))
		}
	}
	_, queued := e.queued[o.id]
	switch {
	case found == len(e.records):
		v.recorded++
	case queued: // it is named among the stuck ones
	case found > 0:
		v.wrong = append(v.wrong, fmt.Sprintf("%s: %d of %d stores have its record", o.id, found, len(e.records)))
	case len(e.dead[o.id]) > 0:
		v.wrong = append(v.wrong, fmt.Sprintf("%s: it is among the dead letters and has no record", o.id))
	default:
		v.lost = append(v.lost, fmt.Sprintf("%s: neither recorded nor queued; it ran %d times", o.id, len(runs)))
	}
	if found > 0 && o.params.GiveUp && len(e.dead[o.id]) == 0 && !queued {
		v.lost = append(v.lost, fmt.Sprintf("%s: it has failed for good and is not among the dead letters", o.id))
	}
	for i := 1; i < len(e.records); i++ {
		a, b := e.records[0][o.id], e.records[i][o.id]
		if a.ID != "" && b.ID != "" && (a.Status != b.Status || a.RetC != b.RetC || a.Run.Delivery != b.Run.Delivery || a.Run.Attempt != b.Run.Attempt || a.Run.Process != b.Run.Process) {
			v.wrong = append(v.wrong, fmt.Sprintf("%s: the stores contradict each other: %s, %s", o.id, brief(&a), brief(&b)))
		}
	}
	for _, r := range runs {
		if r.Outcome == journal.Broken {
			v.wrong = append(v.wrong, fmt.Sprintf("%s: attempt %d ran with other parameters than were pushed", o.id, r.Attempt))
		}
	}
}

func brief(r *task.Record) string {
	return fmt.Sprintf("status %d, retC %d, attempt %d, delivery %d, host %s, process %d, %q", r.Status, r.RetC, r.Run.Attempt, r.Run.Delivery%1e6, r.Run.Host, r.Run.Process, r.RespM)
}

// contradiction says what in a record is not as the journals tell, or "".
func (e *evidence) contradiction(o *order, rec *task.Record, runs []journal.Run) string {
	if rec.Status != task.Completed {
		if _, queued := e.queued[o.id]; queued {
			return ""
		}
		return "it says that the task has not ended, and the queue does not have it"
	}
	want := journal.OK
	switch {
	case o.params.GiveUp && !rec.RetC.Failed():
		return "it tells of success, and the task cannot succeed"
	case o.params.GiveUp:
		want = journal.GiveUp
	case rec.RetC.Failed():
		return "it tells of a failure for good, and the task cannot fail for good"
	}
	if !rec.Run.Retry.IsZero() {
		return "it names a next attempt, and says that the task has ended"
	}
	recorded := -1 // of several of one process, the one that ended when the record says, or the last
	for i, r := range runs {
		if r.Outcome == want && r.Host == rec.Run.Host && r.PID == rec.Run.Process && r.Attempt == rec.Run.Attempt &&
			(recorded < 0 || runs[recorded].End.Sub(rec.Run.Ended).Abs() > settling) {
			recorded = i
		}
	}
	if recorded < 0 {
		return fmt.Sprintf("no run of that host, process and attempt ended as it says; there were %s", story(runs))
	}
	if e.again[o.id] || len(e.pushers[o.id]) > 1 {
		return "" // two lives of one id: which of them is told of depends on which came last
	}
	for _, later := range runs[recorded+1:] {
		if later.Outcome == want && later.Begin.After(runs[recorded].End) && e.calm(&later) {
			return fmt.Sprintf("a later run ended as well, on a host that no fault had struck; there were %s", story(runs))
		}
	}
	return ""
}

// reaches reports whether a fault has to do with a host: it struck that host, or it stopped
// another, perhaps in the middle of a write, with the lock of the file that they share.
func (e *evidence) reaches(s *struck, host string) bool {
	return s.hits(host) || e.file && s.Kind == HostStop && s.Skipped == ""
}

// calm reports whether no fault can have made the host of a run lose its lease.
func (e *evidence) calm(r *journal.Run) bool {
	for i := range e.struck {
		s := &e.struck[i]
		if e.reaches(s, r.Host) && s.Begin.Before(r.End.Add(settling)) && s.End.After(r.Begin.Add(-2*e.lease)) {
			return false
		}
	}
	return true
}

func story(runs []journal.Run) string {
	var text string
	for i, r := range runs {
		if i > 0 {
			text += "; "
		}
		text += fmt.Sprintf("%s %s-%d attempt %d", r.Begin.Format("15:04:05.000"), r.Host, r.PID, r.Attempt)
		if r.Outcome == "" {
			text += " no end"
		} else {
			text += fmt.Sprintf(" %s after %v", r.Outcome, r.End.Sub(r.Begin).Round(time.Millisecond))
		}
	}
	return text
}

// again finds the runs of a task that no failure asked for, and their causes.
func (v *verdict) again(e *evidence, o *order, runs []journal.Run) {
	for i, r := range runs {
		if i == 0 {
			continue
		}
		before := &runs[i-1]
		if j := lastOf(runs[:i], r.Attempt); j >= 0 {
			before = &runs[j]
		} else if before.Outcome != journal.OK && before.Outcome != journal.GiveUp {
			v.retries++
			continue
		}
		if before.End.After(r.Begin) {
			v.overlaps++
		}
		v.extra = append(v.extra, extra{run: r, before: *before, cause: e.cause(o, before, &r, runs[:i])})
	}
}

// lastOf returns the index of the last run of an attempt, -1 if there is none.
func lastOf(runs []journal.Run, attempt int) int {
	for i, r := range slices.Backward(runs) {
		if r.Attempt == attempt {
			return i
		}
	}
	return -1
}

// cause returns why a task ran again after a run that had not failed: the fault that ended
// the run, or the host's hold on it, or kept the queue from hearing of its end. "" says that
// no fault can have done it.
func (e *evidence) cause(o *order, before, again *journal.Run, runs []journal.Run) string {
	if e.noIDs && e.again[o.id] {
		return "pushed again by the producer"
	}
	from, to := before.Begin, again.Begin
	if !before.End.IsZero() {
		to = e.settled(before)
	}
	var likely *struck
	for i := range e.struck {
		s := &e.struck[i]
		if rank(s.Kind) >= 0 && e.reaches(s, before.Host) && s.Begin.Before(to) && s.End.Add(settling).After(from) &&
			(likely == nil || e.rank(s, before.Host) < e.rank(likely, before.Host)) {
			likely = s
		}
	}
	switch {
	case likely != nil && !likely.hits(before.Host):
		return string(likely.Kind) + " of another host, which may have held the lock of the queue's file"
	case likely != nil:
		return string(likely.Kind)
	case e.timedOut(o.id, before, again):
		return "its time limit was over before its result had left its process"
	case slices.ContainsFunc(e.slow[o.id], func(t time.Time) bool { return t.After(before.Begin) && t.Before(again.Begin.Add(settling)) }):
		return "its host was too slow to keep its lease, on a busy machine"
	case e.endedBeside(before):
		return "its process was ended by the next task, before its result had left it"
	case e.again[o.id]:
		return "pushed again by the producer"
	case len(e.pushers[o.id]) > 1:
		return "pushed again by its parent, which ran again"
	case e.copied(o.id, before, again):
		return "given back as a copy, by a host that was cut off before it could delete the first"
	case e.sentTwice(o.id, runs):
		return "sent again by the queue's client, whose first try was cut off"
	}
	return ""
}

// copied reports whether a run can be that of another copy of a task, in a queue where what is
// given back without having run is sent anew, and then deleted: the lease of the run before
// cannot have ended, and a fault struck some host between the push and that run.
func (e *evidence) copied(id task.ID, before, again *journal.Run) bool {
	return e.noIDs && again.Begin.Sub(before.Begin) < e.lease/2 && slices.ContainsFunc(e.struck, func(s struck) bool {
		return s.Skipped == "" && (holds(s.Kind) || s.Kind == HostKill || s.Kind == HostDrain) && s.Begin.Before(before.Begin) && s.End.After(e.pushed[id])
	})
}

// sentTwice reports whether a task may be in the queue twice, of a queue that does not know
// ids: while it was pushed, or one of its earlier runs was settled by a new message, a fault
// could keep the answer from the client, which sends again.
func (e *evidence) sentTwice(id task.ID, earlier []journal.Run) bool {
	if !e.noIDs {
		return false
	}
	cut := func(host string, from, to time.Time) bool {
		for i := range e.struck {
			s := &e.struck[i]
			if s.Skipped == "" && (s.Host == all || host != "" && s.hits(host)) && holds(s.Kind) && s.Begin.Before(to) && s.End.Add(settling).After(from) {
				return true
			}
		}
		return false
	}
	if asked, ok := e.asked[id]; ok && cut("", asked, e.pushed[id]) {
		return true
	}
	for _, r := range slices.Concat(earlier, e.pushers[id]) {
		end := r.Begin.Add(timeLimit) // of one that died: its retry is a new message
		if !r.End.IsZero() {
			end = e.settled(&r)
		}
		if cut(r.Host, r.Begin, end) {
			return true
		}
	}
	return false
}

// settled returns when a run that told its end was settled at the latest: soon after its
// end, or after the end of what kept its record from being written and the queue from being
// told, one after the other. Hosts try again after waits that grow, with what they wait for, up
// to mostRest.
func (e *evidence) settled(r *journal.Run) time.Time {
	at := r.End.Add(settling)
	for longer := true; longer; {
		longer = false
		for i := range e.struck {
			s := &e.struck[i]
			end := s.End.Add(settling + min(mostRest, s.End.Sub(s.Begin)))
			if holds(s.Kind) && e.reaches(s, r.Host) && s.Begin.Before(at) && end.After(at) {
				at, longer = end, true
			}
		}
	}
	return at
}

// holds reports whether a fault of a kind can hold up records or settlements.
func holds(k Kind) bool {
	if k == machineStall || k == serverSlow {
		return true
	}
	i := slices.IndexFunc(kinds, func(x kindOf) bool { return x.kind == k })
	switch kinds[i].lane {
	case "server", "queue", "queuefile", "store", "storefile":
		return true
	}
	return k == HostStop
}

// rank orders the kinds of faults that can make a task run twice, the likeliest first; -1 of
// one that cannot: a store that fails, for example, delays settlements, and no more.
func rank(k Kind) int {
	return slices.Index([]Kind{HostKill, HostStop, PluginKill, HostDrain, ServerKill, ServerStop, QueueStall, QueueReset, QueueLimit,
		QueueLocked, QueueFull, QueueLatency, PluginStop, machineStall, serverSlow}, k)
}

// rank is that of a fault as the cause of what befell a run on a host: what struck that host
// is likelier than what reached it.
func (e *evidence) rank(s *struck, host string) int {
	if s.hits(host) {
		return rank(s.Kind)
	}
	return rank(s.Kind) + 1000
}

// timedOut reports whether an attempt was counted as failed since its time limit was over,
// although it has ended: on a busy machine its result may be long on its way.
func (e *evidence) timedOut(id task.ID, before, again *journal.Run) bool {
	for _, records := range e.records {
		if again.Attempt == before.Attempt+1 && again.Begin.Sub(before.Begin) > limitOfTasks && records[id].Run.Timeouts > 0 {
			return true
		}
	}
	return false
}

// endedBeside reports whether soon after a run its process was ended by another task, one of
// those that do: results leave a process together, every few milliseconds.
func (e *evidence) endedBeside(before *journal.Run) bool {
	for i := range e.runs {
		r := &e.runs[i]
		if r.Host != before.Host || r.PID != before.PID || r.Outcome != "" && r.Outcome != journal.Exit || before.End.IsZero() ||
			r.Begin.Before(before.End) || r.Begin.After(before.End.Add(settling/4)) {
			continue
		}
		for j := range e.orders {
			if o := &e.orders[j]; string(o.id) == r.Task && r.Attempt <= o.params.Exits {
				return true
			}
		}
	}
	return false
}

// weigh counts what was in flight at the faults.
func (v *verdict) weigh(e *evidence, byTask map[task.ID][]journal.Run) {
	slices.SortFunc(v.extra, func(a, b extra) int { return cmp.Compare(a.cause, b.cause) })
	for _, runs := range byTask {
		for i, r := range runs {
			end := r.End.Add(settling)
			if r.End.IsZero() {
				end = r.Begin.Add(timeLimit)
				if i+1 < len(runs) && runs[i+1].Begin.Before(end) {
					end = runs[i+1].Begin
				}
			}
			for j := range e.struck {
				if s := &e.struck[j]; s.hits(r.Host) && !r.Begin.After(s.End) && !end.Before(s.Begin) {
					v.inFlight++
				}
			}
		}
	}
	for i := range e.struck {
		if e.struck[i].Skipped == "" {
			v.held += e.struck[i].Held
		}
	}
}
