package metastoretest

import (
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/task"
)

// recordCases are about what a record holds.
var recordCases = []testCase{
	{"every field comes back", func(e *env) {
		s := e.open()
		want := record(3)
		e.put(s, want)
		got := e.get1(s, want.ID)
		e.same(want, got)
		require.True(e.T, want.ExStart.Equal(got.ExStart))
		require.Equal(e.T, want.Run.Exit, got.Run.Exit)
	}},
	{"a record of a task that has not begun", func(e *env) {
		s := e.open()
		want := task.Record{ID: task.NewID(), Status: task.Pending, Type: "suite.test"}
		e.put(s, want)
		got := e.get1(s, want.ID)
		e.same(want, got)
		require.True(e.T, got.ExStart.IsZero())
		require.Zero(e.T, got.RetC)
	}},
	{"every return code and status", func(e *env) {
		s := e.open()
		for c := task.Success; c <= task.TimeLimitExceeded; c++ {
			for st := task.Pending; st <= task.Completed; st++ {
				r := plain(task.NewID(), 1)
				r.RetC, r.Status = c, st
				e.put(s, r)
				e.same(r, e.get1(s, r.ID))
			}
		}
	}},
	{"meta info", func(e *env) {
		s := e.open()
		r := record(1)
		r.Meta = map[string]any{
			"customer": "Žabac & sons <ltd>", "amount": 12.5, "count": 3, "ok": true, "nothing": nil,
			"list": []any{"a", 1, false, nil, []any{}}, "object": map[string]any{"a": map[string]any{"b": "c"}},
		}
		e.put(s, r)
		got := e.get1(s, r.ID)
		e.same(r, got)
		require.Equal(e.T, "Žabac & sons <ltd>", got.Meta["customer"])
		require.Contains(e.T, got.Meta, "nothing")
	}},
	{"odd keys of meta info", func(e *env) {
		s := e.open()
		r := record(1)
		r.Meta = map[string]any{"a.b": 1, "$set": 2, "": 3, "with space": 4, "ключ": 5, "'; drop table info; --": 6, "__proto__": 7}
		e.put(s, r)
		e.same(r, e.get1(s, r.ID))
	}},
	{"meta info overrides fields", func(e *env) {
		s := e.open()
		r := record(1)
		r.Meta = map[string]any{"respM": "mine", "retC": 2, "exTime": "not a number", "status": "gone", "type": 7, "exStart": "yesterday"}
		e.put(s, r)
		got := e.get1(s, r.ID)
		e.same(r, got)
		require.Equal(e.T, "mine", got.RespM)
		require.Equal(e.T, task.Warning, got.RetC)
		require.Equal(e.T, "not a number", got.Meta["exTime"])
		require.Equal(e.T, "yesterday", got.Meta["exStart"])
	}},
	{"meta info cannot override the identity", func(e *env) {
		s := e.open()
		r := record(7)
		r.Meta = map[string]any{"_id": "other", "id": "other", "leptir": map[string]any{"delivery": 1000}, "mine": "yes"}
		e.put(s, r)
		got := e.get1(s, r.ID)
		require.Equal(e.T, r.ID, got.ID)
		require.Equal(e.T, 7, got.Run.Delivery)
		require.Equal(e.T, "yes", got.Meta["mine"])
		require.Empty(e.T, e.get(s, "other"))
		r.Run.Delivery, r.RespM = 8, "newer"
		e.put(s, r)
		require.Equal(e.T, "newer", e.get1(s, r.ID).RespM, "the forged delivery must not count")
	}},
	{"any text", func(e *env) {
		s := e.open()
		r := record(1)
		r.ID = "my-own/№7:{x}'\"\\%_*?"
		r.RespM = "жаба 蝶 🦋 \u0000 \u2028 \t \r\n \" ' \\ <&> $where"
		r.Run.Error = r.RespM
		e.put(s, r)
		got := e.get1(s, r.ID)
		e.same(r, got)
		require.Equal(e.T, r.RespM, got.RespM)
	}},
	{"a response of 1 MiB", func(e *env) {
		s := e.open()
		var rs []task.Record
		for i := range 4 {
			r := record(1)
			r.RespM = strings.Repeat(string(rune('a'+i)), 1<<20)
			rs = append(rs, r)
		}
		e.put(s, rs...)
		for _, r := range rs {
			e.same(r, e.get1(s, r.ID))
		}
	}},
	{"a new record replaces the old one whole", func(e *env) {
		s := e.open()
		r := record(2)
		r.Meta = map[string]any{"old": true}
		e.put(s, r)
		next := task.Record{ID: r.ID, Status: task.InProgress, Type: "suite.test", ExStart: time.Now().UTC().Truncate(time.Millisecond),
			Run: task.Run{Attempt: 3, Delivery: 3}}
		e.put(s, next)
		got := e.get1(s, r.ID)
		e.same(next, got)
		require.NotContains(e.T, got.Meta, "old")
		require.Nil(e.T, got.Run.Exit)
	}},
}
