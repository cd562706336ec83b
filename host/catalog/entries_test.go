package catalog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var errTest = errors.New("it does not do")

// file is a file of the folder whose contents changed at the given time.
func file(name string, ino uint64, changed time.Time) found {
	f := found{name: name}
	f.print.ino, f.print.ctime.Sec, f.print.ctime.Nsec = ino, changed.Unix(), int64(changed.Nanosecond())
	return f
}

func good(sum string, types ...string) *binary {
	b := &binary{sum: sum, staged: "/staged/" + sum}
	for _, t := range types {
		b.types = append(b.types, Type{Name: t})
	}
	return b
}

// ticker is a state with a clock.
type ticker struct {
	*entries
	now  time.Time
	last *Snapshot
}

func newTicker() *ticker {
	return &ticker{entries: newEntries(settle), now: time.Unix(1e9, 0), last: NewSnapshot(nil)}
}

func (s *ticker) look(files ...found) []job {
	s.observe(files, s.now)
	return s.due(s.now)
}

func (s *ticker) end(j job, v verdict) { s.done(j, v, s.now) }

func (s *ticker) snap() *Snapshot {
	s.last = s.snapshot("/plugins", s.last, s.now)
	return s.last
}

func TestSettling(t *testing.T) {
	t.Parallel()
	s := newTicker()
	require.Len(t, s.look(file("old", 1, s.now.Add(-time.Minute))), 1, "what is old is taken up at once")

	s = newTicker()
	for i := range 5 { // it grows
		require.Empty(t, s.look(file("a", uint64(i), s.now)))
		require.Equal(t, s.now.Add(settle), s.next())
		s.now = s.now.Add(settle - time.Millisecond)
	}
	f := file("a", 9, s.now.Add(time.Hour)) // the clock of a file server is ahead
	require.Empty(t, s.look(f))
	require.False(t, s.quiet())
	s.now = s.next()
	jobs := s.look(f)
	require.Len(t, jobs, 1)
	require.Empty(t, s.look(f), "one job at a time")

	s.end(jobs[0], verdict{err: errChanged})
	require.Equal(t, StatusProbing, s.snap().Plugins[0].Status)
	require.Empty(t, s.look(f), "it settles again")
	s.now = s.next()
	jobs = s.look(f)
	require.Len(t, jobs, 1)
	s.look(file("a", 10, s.now))
	s.end(jobs[0], verdict{sum: "x", err: errTest})
	require.Empty(t, s.snap().Plugins[0].Problem, "a verdict on what is there no more")
	s.now = s.next()
	jobs = s.look(file("a", 10, s.now.Add(-settle)))
	s.end(jobs[0], verdict{sum: "y", binary: good("y")})
	require.True(t, s.quiet())
	require.True(t, s.next().IsZero())
	require.Equal(t, StatusReady, s.snap().Plugins[0].Status)
}

// Many tools replace a file by removing it and making it anew.
func TestReplacedByRemoval(t *testing.T) {
	t.Parallel()
	s := newTicker()
	s.end(s.look(file("a", 1, time.Time{}))[0], verdict{sum: "x", binary: good("x")})
	s.look()
	require.True(t, s.snap().Plugins[0].Serving())
	s.now = s.now.Add(settle / 2)
	s.look(file("a", 2, s.now))
	s.now = s.now.Add(settle)
	jobs := s.look(file("a", 2, s.now.Add(-settle)))
	s.end(jobs[0], verdict{sum: "y", binary: good("y")})
	require.Equal(t, 2, s.snap().Plugins[0].Generation)

	s.look()
	require.False(t, s.quiet())
	s.now = s.next()
	s.look()
	require.Empty(t, s.snap().Plugins)
	require.True(t, s.quiet())
}

// What failed is tried again, later each time, until it is written again.
func TestRetries(t *testing.T) {
	t.Parallel()
	s := newTicker()
	f := file("a", 1, time.Time{})
	j := s.look(f)[0]
	for _, wait := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		s.end(j, verdict{sum: "x", err: errTest})
		for _, j := range s.look(f) {
			require.True(t, j.earlier)
			s.end(j, verdict{})
		}
		require.Equal(t, StatusBroken, s.snap().Plugins[0].Status)
		require.True(t, s.quiet())
		require.Equal(t, s.now.Add(wait*time.Second), s.next())
		since := s.last.Plugins[0].Since
		s.now = s.next()
		jobs := s.look(f)
		require.Len(t, jobs, 1)
		require.Equal(t, StatusBroken, s.snap().Plugins[0].Status, "until it has proven good")
		require.Equal(t, since, s.last.Plugins[0].Since)
		j = jobs[0]
	}
	s.end(j, verdict{sum: "x", binary: good("x")})
	require.Equal(t, StatusReady, s.snap().Plugins[0].Status)
	require.Empty(t, s.last.Plugins[0].Problem)
	require.True(t, s.next().IsZero())

	// Rejected with nothing to fall back on: as a failure.
	s.reject("a", "x", "crashes", s.now)
	for _, j := range s.look(f) {
		s.end(j, verdict{})
	}
	require.Equal(t, StatusBroken, s.snap().Plugins[0].Status)
	require.Equal(t, s.now.Add(lastRetry), s.next())
	s.now = s.next()
	s.end(s.look(f)[0], verdict{sum: "x", binary: good("x")})
	require.Equal(t, 2, s.snap().Plugins[0].Generation)

	// Rejected with a fallback: not tried again.
	g := file("a", 2, time.Time{})
	s.end(s.look(g)[0], verdict{sum: "y", binary: good("y")})
	s.reject("a", "y", "crashes", s.now)
	require.Equal(t, "x", s.snap().Plugins[0].SHA256)
	require.Equal(t, 4, s.last.Plugins[0].Generation)
	require.True(t, s.next().IsZero())
	require.True(t, s.quiet())
}

// A binary that is rejected while the same one, written again, is looked at, is judged
// once more: it is no longer known to be good.
func TestRejectedWhileJudged(t *testing.T) {
	t.Parallel()
	s := newTicker()
	s.end(s.look(file("a", 1, time.Time{}))[0], verdict{sum: "x", binary: good("x")})
	again := file("a", 2, time.Time{})
	j := s.look(again)[0]
	require.Equal(t, "x", j.known)
	s.reject("a", "x", "crashes", s.now)
	s.end(j, verdict{sum: "x"})
	require.Equal(t, StatusBroken, s.snap().Plugins[0].Status)
	for _, j := range s.look(again) {
		require.True(t, j.earlier)
		s.end(j, verdict{})
	}
	j = s.look(again)[0]
	require.Empty(t, j.known)
	s.end(j, verdict{sum: "x", binary: good("x")})
	require.Equal(t, 2, s.snap().Plugins[0].Generation)
	require.Empty(t, s.last.Plugins[0].Problem)
	require.True(t, s.quiet())
}

// Plugins of the first scan get their types by name, whoever answers first; later ones
// first come, first served.
func TestOwners(t *testing.T) {
	t.Parallel()
	s := newTicker()
	a, b, c := file("a", 1, time.Time{}), file("b", 2, time.Time{}), file("c", 3, time.Time{})
	owner := func() string {
		p, _ := s.snap().ForType("t")
		return p.Name
	}
	jobs := s.look(b, c)
	s.end(jobs[1], verdict{sum: "c", binary: good("c", "t")})
	require.Equal(t, "c", owner())
	s.end(jobs[0], verdict{sum: "b", binary: good("b", "t")})
	require.Equal(t, "b", owner())
	s.end(s.look(a, b, c)[0], verdict{sum: "a", binary: good("a", "t")})
	require.Equal(t, "b", owner())
	require.Equal(t, "b", s.last.Plugins[0].Types[0].ServedBy)
	require.Equal(t, []Status{StatusConflict, StatusReady, StatusConflict},
		[]Status{s.last.Plugins[0].Status, s.last.Plugins[1].Status, s.last.Plugins[2].Status})
	// The owner's next binary has the type no more.
	s.end(s.look(a, file("b", 4, time.Time{}), c)[0], verdict{sum: "b2", binary: good("b2", "u")})
	require.Equal(t, "a", owner())
}

// Random histories, checked against what must hold of any.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := history{t: t, ticker: newTicker(), rnd: rand.New(rand.NewPCG(seed, 7)), folder: map[string]found{},
				rejected: map[string]bool{}, shas: map[string]string{}}
			for range 150 {
				h.step()
				h.check()
			}
			h.settleDown()
		})
	}
}

// history plays a folder, its files' contents and the jobs on them. The contents of inode
// n are good unless n is divisible by 3; sums repeat, so that files come back.
type history struct {
	*ticker
	t        *testing.T
	rnd      *rand.Rand
	folder   map[string]found
	rejected map[string]bool // name and sum, since the file was written
	jobs     []job
	ino      uint64
	removed  map[string]bool   // names that were away or rejected since the last check
	shas     map[string]string // name and generation to sum
}

func isGood(ino uint64) bool { return ino%3 != 0 }

func sumOf(ino uint64) string { return fmt.Sprint("sum", ino%21) }

func typesOf(ino uint64) []string {
	return []string{fmt.Sprint("t", ino%21%4), fmt.Sprint("u", ino%21%5)}
}

func (h *history) step() {
	name := string(rune('a' + h.rnd.IntN(4)))
	h.removed = map[string]bool{}
	switch h.rnd.IntN(10) {
	case 0, 1: // written
		h.ino += 1 + h.rnd.Uint64N(3)
		h.folder[name] = file(name, h.ino, h.now)
		for r := range h.rejected {
			if r[0] == name[0] {
				delete(h.rejected, r)
			}
		}
	case 2:
		delete(h.folder, name)
	case 3: // its permissions, or its folder's, change
		if f, ok := h.folder[name]; ok {
			if f.refusal == "" {
				f.refusal = "refused"
			} else {
				f.refusal = ""
			}
			h.folder[name] = f
		}
	case 4, 5:
		h.now = h.now.Add(time.Duration(h.rnd.IntN(400)) * time.Millisecond)
	case 6:
		h.now = h.now.Add(time.Minute)
	case 7:
		if p, ok := h.last.Plugin(name); ok && p.Serving() {
			h.reject(name, p.SHA256, "crashes", h.now)
			h.rejected[name+p.SHA256] = true
			h.removed[name] = true
			if p, _ := h.snap().Plugin(name); p.Serving() {
				require.NotContains(h.t, h.rejected, name+p.SHA256, "a rejected binary is fallen back on")
			}
		}
	default:
		if len(h.jobs) > 0 {
			i := h.rnd.IntN(len(h.jobs))
			j := h.jobs[i]
			h.jobs = slices.Delete(h.jobs, i, i+1)
			h.finish(j)
		}
	}
	if h.rnd.IntN(8) == 0 {
		h.unreadable(errTest)
		return
	}
	h.scan()
}

func (h *history) scan() {
	var list []found
	for _, name := range []string{"a", "b", "c", "d"} {
		if f, ok := h.folder[name]; ok {
			list = append(list, f)
		}
	}
	h.jobs = append(h.jobs, h.look(list...)...)
}

func (h *history) finish(j job) {
	ino := j.file.print.ino
	switch {
	case j.earlier:
		h.end(j, verdict{})
	case h.rnd.IntN(6) == 0:
		h.end(j, verdict{err: errChanged})
	case sumOf(ino) == j.known:
		h.end(j, verdict{sum: j.known})
	case isGood(ino):
		h.end(j, verdict{sum: sumOf(ino), binary: good(sumOf(ino), typesOf(ino)...)})
	default:
		h.end(j, verdict{sum: sumOf(ino), err: errTest})
	}
}

func (h *history) check() {
	before, first := h.last, h.first
	after := h.snap()
	require.True(h.t, slices.IsSortedFunc(after.Plugins, func(a, b Plugin) int { return int(a.Name[0]) - int(b.Name[0]) }))
	served := map[string]bool{}
	for _, p := range after.Plugins {
		old, existed := before.Plugin(p.Name)
		if existed && old.Serving() && !h.removed[p.Name] {
			require.True(h.t, p.Serving(), "a good binary was dropped: %+v, then %+v", old, p)
		}
		if !p.Serving() {
			require.Empty(h.t, p.SHA256)
			require.Zero(h.t, p.Generation)
			require.Equal(h.t, p.Status != StatusProbing, p.Problem != "")
			continue
		}
		key := fmt.Sprint(p.Name, p.Generation)
		if sum, ok := h.shas[key]; ok {
			require.Equal(h.t, sum, p.SHA256, "one generation, two binaries")
		}
		h.shas[key] = p.SHA256
		if old.Serving() {
			require.Equal(h.t, old.SHA256 != p.SHA256, old.Generation != p.Generation)
			require.GreaterOrEqual(h.t, p.Generation, old.Generation)
		}
		for _, typ := range p.Types {
			served[typ.Name] = true
			owner, ok := after.ForType(typ.Name)
			require.True(h.t, ok)
			if typ.ServedBy == "" {
				require.Equal(h.t, p.Name, owner.Name)
			} else {
				require.Equal(h.t, typ.ServedBy, owner.Name)
				require.Equal(h.t, StatusConflict, p.Status)
			}
		}
	}
	if first {
		return
	}
	for typ := range served {
		was, ok := before.ForType(typ)
		if is, _ := after.ForType(typ); ok && was.Name != is.Name {
			still, _ := after.Plugin(was.Name)
			require.NotContains(h.t, typeNames(still), typ, "the owner lost a type that it still serves")
		}
	}
}

// settleDown lets everything come to an end, and checks the outcome.
func (h *history) settleDown() {
	h.removed = map[string]bool{"a": true, "b": true, "c": true, "d": true}
	for range 20 {
		h.now = h.now.Add(settle)
		h.scan()
		for _, j := range h.jobs {
			h.finish(j)
		}
		h.jobs = nil
	}
	for range 100 {
		if h.quiet() {
			break
		}
		h.now = h.now.Add(settle)
		h.scan()
		for _, j := range h.jobs {
			h.finish(j)
		}
		h.jobs = nil
	}
	require.True(h.t, h.quiet())
	snap := h.snap()
	require.Len(h.t, snap.Plugins, len(h.folder))
	for name, f := range h.folder {
		p, _ := snap.Plugin(name)
		sum := sumOf(f.print.ino)
		switch {
		case f.refusal != "":
			require.NotEmpty(h.t, p.Problem)
		case !isGood(f.print.ino):
			require.NotEmpty(h.t, p.Problem)
		case h.rejected[name+sum]:
			require.True(h.t, p.Problem != "" || p.SHA256 == sum, "tried again, or shown: %+v", p)
		default:
			require.Equal(h.t, sum, p.SHA256)
			require.NotContains(h.t, p.Problem, errTest.Error())
		}
	}
}
