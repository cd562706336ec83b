// Package metastoretest is the conformance suite of stores of task records: what every
// kind must do to be used by a host, as tests that each kind runs against itself.
//
//	func TestConformance(t *testing.T) {
//		metastoretest.Run(t, metastoretest.Harness{
//			New: func(tb testing.TB) metastoretest.Place {
//				name := freshName(tb)
//				return metastoretest.Place{
//					Open: func(tb testing.TB) metastore.Store { return open(tb, name) },
//				}
//			},
//		})
//	}
//
// Each case runs as a subtest in parallel with the others, on a place of its own. Whatever
// is skipped needs a reason (Harness.Skip).
package metastoretest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

// Harness tells the suite how to get at one kind of store and what to allow it.
type Harness struct {
	// New makes a new, empty place for records that nobody else uses. What it needs to
	// clean up it registers with tb.
	New func(tb testing.TB) Place

	// Skip returns why the case of that name ("odd keys of meta info") cannot hold for
	// this kind, and "" for the cases to run. nil runs all.
	Skip func(name string) (reason string)
}

// Place is one place for records as a harness gives it.
type Place struct {
	// Open opens the store, again at every call: each Store is like another host on the
	// same server. The suite closes it.
	Open func(tb testing.TB) metastore.Store
}

type testCase struct {
	name string
	run  func(e *env)
}

// Run runs the whole suite.
func Run(t *testing.T, h Harness) {
	for _, c := range allCases() {
		t.Run(c.name, func(t *testing.T) {
			if h.Skip != nil {
				if reason := h.Skip(c.name); reason != "" {
					t.Skip(reason)
				}
			}
			t.Parallel()
			c.run(&env{T: t, place: h.New(t)})
		})
	}
}

func allCases() []testCase {
	var all []testCase
	for _, cs := range [][]testCase{recordCases, deliveryCases, callCases} {
		all = append(all, cs...)
	}
	return all
}

// patience bounds every call.
const patience = 15 * time.Second

// env is what a case works with: a fresh place, and short words for what cases do often.
type env struct {
	*testing.T
	place Place
}

func (e *env) open() metastore.Store {
	e.Helper()
	s := e.place.Open(e.T)
	e.Cleanup(func() { require.NoError(e.T, s.Close()) })
	return s
}

func (e *env) ctx() context.Context {
	ctx, cancel := context.WithTimeout(e.Context(), patience)
	e.Cleanup(cancel)
	return ctx
}

func (e *env) put(s metastore.Store, rs ...task.Record) {
	e.Helper()
	require.NoError(e.T, s.Put(e.ctx(), rs))
}

// get returns the records of the ids by id.
func (e *env) get(s metastore.Store, ids ...task.ID) map[task.ID]task.Record {
	e.Helper()
	rs, err := s.Get(e.ctx(), ids)
	require.NoError(e.T, err)
	out := map[task.ID]task.Record{}
	for _, r := range rs {
		_, twice := out[r.ID]
		require.False(e.T, twice, "record %s came twice", r.ID)
		out[r.ID] = r
	}
	return out
}

// get1 returns the one record of the id.
func (e *env) get1(s metastore.Store, id task.ID) task.Record {
	e.Helper()
	m := e.get(s, id)
	require.Len(e.T, m, 1, "record of %s", id)
	require.Contains(e.T, m, id)
	return m[id]
}

// same checks that two records are written alike, which is all that a store promises:
// what the meta info overrides comes back in the field or in Meta.
func (e *env) same(want, got task.Record) {
	e.Helper()
	require.Equal(e.T, want.ID, got.ID)
	w, err := json.Marshal(want)
	require.NoError(e.T, err)
	g, err := json.Marshal(got)
	require.NoError(e.T, err)
	if len(w) > 10_000 {
		require.True(e.T, string(w) == string(g), "record %s: %d bytes came back as other %d bytes", want.ID, len(w), len(g))
		return
	}
	require.JSONEq(e.T, string(w), string(g))
}

// record returns a record of a task that has ended, with every field filled in.
func record(delivery int) task.Record {
	start := time.Now().UTC().Truncate(time.Millisecond).Add(-time.Minute)
	return task.Record{
		ID: task.NewID(), Status: task.Completed, RetC: task.Error, ExTime: 12.345, Type: "suite.test",
		RespM: "line one line two", ExStart: start,
		Run: task.Run{
			Attempt: 2, Delivery: delivery, Ended: start.Add(12345 * time.Millisecond), Retry: start.Add(time.Hour),
			Host: "host-1", Process: 4711, Plugin: "examples", States: []int{1, 2, -5}, Error: "it failed",
			Stack: "main.go:1\nmain.go:2", Note: "a note",
			Exit: &task.Exit{Reason: "crash", Code: 2, Signal: "SIGSEGV", PeakMemory: 1 << 40, CPUSeconds: 0.25, Stderr: []string{"oh", "no"}},
		},
	}
}

// plain returns a small record.
func plain(id task.ID, delivery int) task.Record {
	return task.Record{ID: id, Status: task.InProgress, Type: "suite.test", RespM: fmt.Sprint("delivery ", delivery),
		Run: task.Run{Attempt: 1, Delivery: delivery}}
}

// Bench measures a kind of store: puts of new records and of existing ones, and gets, in
// batches of 1, 32 and 256. Every benchmark reports records/s.
func Bench(b *testing.B, h Harness) {
	for _, n := range []int{1, 32, 256} {
		run := func(name string, fresh bool, op func(s metastore.Store, rs []task.Record) error) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				s := h.New(b).Open(b)
				b.Cleanup(func() { require.NoError(b, s.Close()) })
				rs := benchRecords(n)
				require.NoError(b, s.Put(context.Background(), rs))
				done := 0
				for b.Loop() {
					if fresh {
						b.StopTimer()
						rs = benchRecords(n)
						b.StartTimer()
					}
					require.NoError(b, op(s, rs))
					done += n
				}
				b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "records/s")
			})
		}
		put := func(s metastore.Store, rs []task.Record) error { return s.Put(context.Background(), rs) }
		run("put new", true, put)
		run("put again", false, put)
		run("get", false, func(s metastore.Store, rs []task.Record) error {
			ids := make([]task.ID, len(rs))
			for i := range rs {
				ids[i] = rs[i].ID
			}
			_, err := s.Get(context.Background(), ids)
			return err
		})
	}
}

func benchRecords(n int) []task.Record {
	now := time.Now().UTC()
	rs := make([]task.Record, n)
	for i := range rs {
		rs[i] = task.Record{ID: task.NewID(), Status: task.Completed, RetC: task.Success, ExTime: 0.0012, RespM: "sent to 3 recipients",
			Type: "bench.echo", ExStart: now, Run: task.Run{Attempt: 1, Delivery: 1, Ended: now, Host: "host-1", Process: 4711, Plugin: "bench"}}
	}
	return rs
}
