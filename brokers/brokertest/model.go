package brokertest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

var modelCases = []testCase{
	{"random operations", func(e *env) {
		steps, slow := 400, 40
		if e.q.Advance == nil {
			slow = 4 // operations in which time must pass
			if e.h.Unit >= time.Second {
				slow = 2
			}
		}
		seed := uint64(time.Now().UnixNano())
		if s := os.Getenv("BROKERTEST_SEED"); s != "" {
			var err error
			seed, err = strconv.ParseUint(s, 10, 64)
			require.NoError(e.T, err, "BROKERTEST_SEED")
		}
		e.Logf("seed %d; BROKERTEST_SEED=%d repeats it", seed, seed)
		m := &model{env: e, rng: rand.New(rand.NewPCG(seed, 0)), b: e.open(), tasks: map[task.ID]*modelTask{}}
		defer func() {
			if e.Failed() {
				e.Logf("the operations were:\n%s", strings.Join(m.log, "\n"))
			}
		}()
		for range steps {
			m.step(&slow)
		}
		m.finish()
	}},
}

// model is what a broker should hold, in the plainest way: a list of tasks. It is the model
// of docs/states.md.
type model struct {
	*env
	rng    *rand.Rand
	b      brokers.Broker
	tasks  map[task.ID]*modelTask
	paused bool
	log    []string
}

type modelTask struct {
	task     task.Task
	state    brokers.State
	due      time.Time
	delivery brokers.Delivery
	attempt  int // of the next delivery
	sequence int
	lost     int
	certain  bool // no lease was lost since this attempt began
	again    bool // it was put back from the dead letters, and has not been settled since
	cancel   *brokers.Cancellation
}

func (m *model) note(format string, a ...any) { m.log = append(m.log, fmt.Sprintf(format, a...)) }

// in returns the tasks in a state, by due time.
func (m *model) in(s brokers.State) []*modelTask {
	var out []*modelTask
	for _, t := range m.tasks {
		if t.state == s {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *modelTask) int {
		if c := a.due.Compare(b.due); c != 0 {
			return c
		}
		return strings.Compare(string(a.task.ID), string(b.task.ID))
	})
	return out
}

func (m *model) step(slow *int) {
	switch n := m.rng.IntN(100); {
	case n < 24:
		m.push()
	case n < 50:
		m.lease()
	case n < 57:
		m.extend()
	case n < 80:
		m.settle()
	case n < 87:
		m.cancelOne()
	case n < 90:
		m.pauseOrResume()
	case n < 91:
		if *slow > 0 {
			*slow-- // to look at dead letters takes SQS its time
			m.requeueSome()
		}
	case n < 94:
		if !m.h.PushTwice {
			m.pushAgain()
		}
	case n < 96:
		m.count()
	case *slow > 0:
		*slow--
		if n < 98 {
			m.expire()
		} else {
			m.scheduleAndPass()
		}
	}
}

func (m *model) push() {
	var ts []task.Task
	for range m.rng.IntN(8) {
		t := m.task()
		mt := &modelTask{state: brokers.StateReady, attempt: 1, certain: true}
		switch m.rng.IntN(4) {
		case 0:
			t.At = m.q.Now().UTC().Truncate(time.Millisecond).Add(time.Hour)
			mt.state = brokers.StateScheduled
		case 1: // between others
			t.At = t.PushedAt.Add(-time.Duration(m.rng.IntN(10_000)) * time.Second)
		}
		mt.task, mt.due = t, t.Due()
		m.tasks[t.ID] = mt
		ts = append(ts, t)
	}
	m.note("push %d", len(ts))
	require.NoError(m.T, m.b.Push(m.ctx(), ts))
}

// pushAgain pushes ids that are there already.
func (m *model) pushAgain() {
	var ts []task.Task
	for _, t := range m.tasks {
		if m.rng.IntN(4) == 0 {
			ts = append(ts, t.task)
		}
	}
	m.note("push again %d", len(ts))
	require.NoError(m.T, m.b.Push(m.ctx(), ts))
}

func (m *model) lease() {
	ready := m.in(brokers.StateReady)
	max := m.rng.IntN(12)
	ds, err := m.b.Lease(m.ctx(), max, long)
	require.NoError(m.T, err)
	m.note("lease %d of %d: got %d", max, len(ready), len(ds))
	if m.paused {
		require.Empty(m.T, ds, "leased from a paused queue")
		return
	}
	require.LessOrEqual(m.T, len(ds), max)
	if max > 0 && len(ready) > 0 && !m.h.BestEffortOrder {
		require.NotEmpty(m.T, ds, "%d tasks are due", len(ready))
	}
	m.took(ready, ds)
}

// took checks deliveries against the ready tasks and notes them as leased.
func (m *model) took(ready []*modelTask, ds []brokers.Delivery) {
	for i, d := range ds {
		t := m.tasks[d.Task.ID]
		require.NotNil(m.T, t, "task %s is not in the queue", d.Task.ID)
		require.Equal(m.T, brokers.StateReady, t.state, "task %s was leased", d.Task.ID)
		if !m.h.BestEffortOrder {
			require.True(m.T, ready[i].due.Equal(t.due), "delivery %d is due %v, but one due %v was there", i, t.due, ready[i].due)
		}
		t.sequence++
		require.Equal(m.T, t.sequence, d.Sequence, "sequence of %s", d.Task.ID)
		require.Equal(m.T, t.attempt, d.Attempt, "attempt of %s", d.Task.ID)
		require.Equal(m.T, t.lost, d.Lost, "losses of %s", d.Task.ID)
		if !t.certain {
			require.True(m.T, d.Repeated, "%s was lost in this attempt", d.Task.ID)
		} else if t.lost == 0 && !t.again {
			require.Equal(m.T, m.h.AlwaysRepeated, d.Repeated)
		}
		if t.cancel == nil {
			require.Nil(m.T, d.Cancel, "task %s was not cancelled", d.Task.ID)
		} else {
			require.NotNil(m.T, d.Cancel, "task %s was cancelled", d.Task.ID)
			m.sameWish(*t.cancel, *d.Cancel)
		}
		m.sameTask(t.task, d.Task)
		t.state, t.delivery = brokers.StateLeased, d
	}
}

// some returns a random part of the leased tasks, in random order.
func (m *model) some() []*modelTask {
	leased := m.in(brokers.StateLeased)
	m.rng.Shuffle(len(leased), func(i, j int) { leased[i], leased[j] = leased[j], leased[i] })
	return leased[:m.rng.IntN(len(leased)+1)]
}

func (m *model) extend() {
	var ds []brokers.Delivery
	var wantLost []task.ID
	for _, t := range m.some() {
		ds = append(ds, t.delivery)
	}
	if len(ds) > 0 && m.rng.IntN(3) == 0 {
		ds[0].Token += "x"
		wantLost = append(wantLost, ds[0].Task.ID)
	}
	lost, err := m.b.Extend(m.ctx(), long, ds)
	m.note("extend %d: lost %d", len(ds), len(lost))
	require.NoError(m.T, err)
	require.ElementsMatch(m.T, wantLost, lost)
}

func (m *model) settle() {
	var ss []brokers.Settlement
	var wantLost []task.ID
	for _, t := range m.some() {
		s := brokers.Settlement{ID: t.task.ID, Token: t.delivery.Token, Verdict: brokers.Done, Reason: "model"}
		switch n := m.rng.IntN(10); {
		case n == 0: // an old or forged token
			s.Token += "x"
			wantLost = append(wantLost, s.ID)
			ss = append(ss, s)
			continue
		case n < 3:
			s.Verdict = brokers.Release
		case n < 4:
			s.Verdict, s.At = brokers.Release, m.later()
		case n < 6:
			s.Verdict, s.At = brokers.Retry, m.task().PushedAt // a past time of its own
		case n < 7:
			s.Verdict, s.At = brokers.Retry, m.later()
		case n < 8:
			s.Verdict = brokers.Bury
		}
		m.apply(t, s)
		ss = append(ss, s)
	}
	lost, err := m.b.Settle(m.ctx(), ss)
	m.note("settle %v: lost %d", verdicts(ss), len(lost))
	require.NoError(m.T, err)
	require.ElementsMatch(m.T, wantLost, lost)
}

func (m *model) later() time.Time {
	return m.q.Now().UTC().Truncate(time.Millisecond).Add(time.Hour + time.Duration(m.rng.IntN(1000))*time.Second)
}

// apply does to the model what the settlement should do to the broker.
func (m *model) apply(t *modelTask, s brokers.Settlement) {
	t.again = false
	switch s.Verdict {
	case brokers.Done:
		delete(m.tasks, t.task.ID)
		return
	case brokers.Bury:
		t.state, t.cancel = brokers.StateDead, nil
		return
	case brokers.Retry:
		t.attempt++
		t.certain = true
	}
	if !s.At.IsZero() {
		t.due = s.At
	}
	t.state = brokers.StateReady
	if t.due.After(m.q.Now()) {
		t.state = brokers.StateScheduled
	}
}

// expire lets some leases end by themselves; half of the time the host is gone as well.
func (m *model) expire() {
	gone := m.rng.IntN(2) == 0
	leased := m.some()
	if gone {
		leased = m.in(brokers.StateLeased)
	}
	m.note("expire %d, reopen %v", len(leased), gone)
	var ds []brokers.Delivery
	for _, t := range leased {
		ds = append(ds, t.delivery)
	}
	if !gone { // the others must outlive the passing of time
		_, err := m.b.Extend(m.ctx(), time.Hour, m.deliveries())
		require.NoError(m.T, err)
	}
	lost, err := m.b.Extend(m.ctx(), m.h.Unit, ds)
	require.NoError(m.T, err)
	require.Empty(m.T, lost)
	if gone {
		require.NoError(m.T, m.b.Close())
	}
	m.pass(m.h.Unit)
	if gone {
		m.b = m.open()
	}
	for _, t := range leased {
		t.state, t.certain = brokers.StateReady, false
		t.lost++
	}
}

// cancelOne cancels any task, or one that is not there, and looks at all marks then.
func (m *model) cancelOne() {
	c, ok := m.b.(brokers.Canceller)
	if !ok {
		return
	}
	all := slices.Concat(m.in(brokers.StateReady), m.in(brokers.StateScheduled), m.in(brokers.StateLeased), m.in(brokers.StateDead))
	if len(all) == 0 || m.rng.IntN(10) == 0 {
		m.note("cancel what is not there")
		_, err := c.Cancel(m.ctx(), task.NewID(), m.wish("model"))
		require.ErrorIs(m.T, err, brokers.ErrNotFound)
		return
	}
	t, w := all[m.rng.IntN(len(all))], m.wish(fmt.Sprint("wish ", m.rng.IntN(1000)))
	m.note("cancel %s, which is %s", t.task.ID, t.state)
	it := m.cancelTask(c, t.task.ID, t.state, w)
	m.sameTask(t.task, it.Task)
	require.Equal(m.T, t.sequence, it.Sequence, "sequence of %s", t.task.ID)
	switch t.state {
	case brokers.StateReady, brokers.StateScheduled:
		delete(m.tasks, t.task.ID)
	case brokers.StateLeased:
		t.cancel = &w
	}
	got := m.marks(c, m.deliveries()...)
	for _, t := range m.in(brokers.StateLeased) {
		mark, marked := got[t.task.ID]
		require.Equal(m.T, t.cancel != nil, marked, "mark on %s", t.task.ID)
		if marked {
			m.sameWish(*t.cancel, mark)
		}
	}
}

func (m *model) pauseOrResume() {
	p, ok := m.b.(brokers.Pauser)
	if !ok {
		return
	}
	// Now and then what it is already.
	if m.rng.IntN(8) > 0 {
		m.paused = !m.paused
	}
	m.note("paused: %v", m.paused)
	if m.paused {
		require.NoError(m.T, p.Pause(m.ctx()))
	} else {
		require.NoError(m.T, p.Resume(m.ctx()))
	}
	m.knowsPause(m.b, m.paused)
}

// requeueSome puts dead letters back, and asks the same of what is none.
func (m *model) requeueSome() {
	i, ok := m.b.(brokers.Inspector)
	if !ok {
		return
	}
	var ids, want []task.ID
	var back []*modelTask
	for _, t := range slices.Concat(m.in(brokers.StateDead), m.in(brokers.StateLeased)) {
		switch {
		case m.rng.IntN(2) == 0:
			continue
		case t.state == brokers.StateDead:
			back = append(back, t)
		default:
			want = append(want, t.task.ID)
		}
		ids = append(ids, t.task.ID)
	}
	m.note("requeue %d, %d of them no dead letters", len(ids), len(want))
	missing, err := i.Requeue(m.ctx(), ids)
	require.NoError(m.T, err)
	require.ElementsMatch(m.T, want, missing)
	for _, t := range back {
		t.state, t.attempt, t.lost, t.certain, t.again = brokers.StateReady, 1, 0, true, true
		if !m.h.InspectsOnlyDead {
			t.due = m.find(i, t.task.ID).Due // by the broker's clock
		}
	}
}

func (m *model) deliveries() []brokers.Delivery {
	var ds []brokers.Delivery
	for _, t := range m.in(brokers.StateLeased) {
		ds = append(ds, t.delivery)
	}
	return ds
}

// scheduleAndPass pushes tasks for soon, looks that they are not there yet, and waits.
func (m *model) scheduleAndPass() {
	m.note("schedule and let time pass")
	lost, err := m.b.Extend(m.ctx(), time.Hour, m.deliveries())
	require.NoError(m.T, err)
	require.Empty(m.T, lost)
	t := m.pushAt(m.b, m.q.Now().Add(4*m.h.Unit))
	mt := &modelTask{task: t, due: t.At, state: brokers.StateScheduled, attempt: 1, certain: true}
	m.tasks[t.ID] = mt
	m.lease()
	m.pass(4 * m.h.Unit)
	mt.state = brokers.StateReady
}

// count compares the counts.
func (m *model) count() {
	want := brokers.Stats{
		Ready: int64(len(m.in(brokers.StateReady))), Scheduled: int64(len(m.in(brokers.StateScheduled))),
		Leased: int64(len(m.in(brokers.StateLeased))), Dead: int64(len(m.in(brokers.StateDead))), Paused: m.paused,
	}
	m.note("count %+v", want)
	var got brokers.Stats
	for end := time.Now().Add(patience); ; m.pause() {
		var err error
		got, err = m.b.Stats(m.ctx())
		require.NoError(m.T, err)
		require.LessOrEqual(m.T, got.Parked, got.Scheduled)
		got.Parked = 0 // the model does not keep count of notes
		if got == want || time.Now().After(end) {
			break
		}
	}
	require.Equal(m.T, want, got)
}

// finish settles all that is left, so that whatever was lost or doubled shows.
func (m *model) finish() {
	m.note("finish")
	if m.paused {
		m.paused = false
		require.NoError(m.T, m.b.(brokers.Pauser).Resume(m.ctx()))
		m.knowsPause(m.b, false)
	}
	if leased := m.deliveries(); len(leased) > 0 {
		m.env.settle(m.b, brokers.Done, leased...)
		for _, d := range leased {
			delete(m.tasks, d.Task.ID)
		}
	}
	ready := m.in(brokers.StateReady)
	ds := m.env.lease(m.b, len(ready), long)
	m.took(ready, ds)
	m.env.settle(m.b, brokers.Done, ds...)
	m.leaseNone(m.b)
	for _, d := range ds {
		delete(m.tasks, d.Task.ID)
	}
	m.count()
	if i, ok := m.b.(brokers.Inspector); ok {
		for _, s := range []brokers.State{brokers.StateScheduled, brokers.StateDead} {
			if m.h.InspectsOnlyDead && s != brokers.StateDead {
				continue
			}
			var want []task.ID
			for _, t := range m.in(s) {
				want = append(want, t.task.ID)
			}
			require.ElementsMatch(m.T, want, m.list(i, s, 17))
		}
	}
}

func verdicts(ss []brokers.Settlement) []string {
	out := make([]string, len(ss))
	for i, s := range ss {
		out[i] = s.Verdict.String()
		if !s.At.IsZero() {
			out[i] += " at"
		}
	}
	return out
}
