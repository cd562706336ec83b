package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

func TestPush(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	file := filepath.Join(s.dir, "params.json")
	require.NoError(t, os.WriteFile(file, []byte("{\n  \"a\": 1,\n  \"b\": [true, null]\n}\n"), 0o600))
	b := s.broker("default")
	local := func(text string) time.Time {
		at, err := time.ParseInLocation("2006-01-02 15:04:05", text, time.Local)
		require.NoError(t, err)
		return at.UTC()
	}
	params := func(text string) task.Task { return task.Task{Type: "x", Params: json.RawMessage(text)} }
	for name, test := range map[string]struct {
		args  []string
		stdin string
		want  task.Task
	}{
		"nothing but the type":       {args: []string{"x"}, want: task.Task{Type: "x"}},
		"flags before the arguments": {args: []string{"-priority", "7", "x"}, want: task.Task{Type: "x", Priority: 7}},
		"negative priority":          {args: []string{"x", "-priority", "-1"}, want: task.Task{Type: "x", Priority: -1}},
		"two dashes, equals sign":    {args: []string{"x", "--priority=-2"}, want: task.Task{Type: "x", Priority: -2}},
		"after the end of flags":     {args: []string{"-priority", "1", "--", "-x-"}, want: task.Task{Type: "-x-", Priority: 1}},

		"limit in seconds":    {args: []string{"x", "-time-limit", "2.5"}, want: task.Task{Type: "x", TimeLimit: 2500 * time.Millisecond}},
		"limit as a duration": {args: []string{"x", "-time-limit", "1m30s"}, want: task.Task{Type: "x", TimeLimit: 90 * time.Second}},
		"limit of the host":   {args: []string{"x", "-time-limit", "0"}, want: task.Task{Type: "x"}},
		"no limit":            {args: []string{"x", "-time-limit", "none"}, want: task.Task{Type: "x", TimeLimit: task.NoTimeLimit}},

		"at RFC 3339":            {args: []string{"x", "-at", "2099-01-02T03:04:05.5+02:00"}, want: task.Task{Type: "x", At: time.Date(2099, 1, 2, 1, 4, 5, 5e8, time.UTC)}},
		"at local time":          {args: []string{"x", "-at", "2099-01-02 03:04"}, want: task.Task{Type: "x", At: local("2099-01-02 03:04:00")}},
		"at local time, seconds": {args: []string{"x", "-at", "2099-01-02 03:04:05"}, want: task.Task{Type: "x", At: local("2099-01-02 03:04:05")}},
		"at local time, T":       {args: []string{"x", "-at", "2099-01-02T03:04"}, want: task.Task{Type: "x", At: local("2099-01-02 03:04:00")}},
		"at unix seconds":        {args: []string{"x", "-at", "4070908800.25"}, want: task.Task{Type: "x", At: time.Date(2099, 1, 1, 0, 0, 0, 25e7, time.UTC)}},

		"numbers":       {args: []string{"x", "-p", "i=1", "-p", "f=-1.5e3", "-p", "big=123456789012345678901234567890"}, want: params(`{"big":123456789012345678901234567890,"f":-1.5e3,"i":1}`)},
		"words":         {args: []string{"x", "-p", "t=true", "-p", "f=false", "-p", "n=null"}, want: params(`{"f":false,"n":null,"t":true}`)},
		"lists and all": {args: []string{"x", "-p", `l=[1, "a"]`, "-p", `o={"k": {}}`, "-p", `s="1"`}, want: params(`{"l":[1,"a"],"o":{"k":{}},"s":"1"}`)},
		"texts":         {args: []string{"x", "-p", "a=plain text", "-p", "b=", "-p", "c=x=y", "-p", "d=007", "-p", "e=[broken", "-p", "f=-v", "-p", "g=<&>"}, want: params(`{"a":"plain text","b":"","c":"x=y","d":"007","e":"[broken","f":"-v","g":"<&>"}`)},
		"odd names":     {args: []string{"x", "-p", "ä b=1", "-p", `"=2`}, want: params(`{"\"":2,"ä b":1}`)},
		"the last wins": {args: []string{"x", "-p", "a=1", "-p", "a=2"}, want: params(`{"a":2}`)},

		"an object":           {args: []string{"x", "-params", ` {"a" : 1, "b": [1, 2]} `}, want: params(`{"a":1,"b":[1,2]}`)},
		"an empty object":     {args: []string{"x", "-params", `{}`}, want: task.Task{Type: "x"}},
		"single ones over it": {args: []string{"x", "-p", "a=2", "-params", `{"a":1,"b":1}`}, want: params(`{"a":2,"b":1}`)},
		"from a file":         {args: []string{"x", "-params", "@" + file, "-p", "c=3"}, want: params(`{"a":1,"b":[true,null],"c":3}`)},
		"from stdin":          {args: []string{"x", "-params", "-"}, stdin: `{"in":"put"}`, want: params(`{"in":"put"}`)},
		"as large as may be": {args: []string{"x", "-params", "-"}, stdin: `{"x": "` + strings.Repeat("y", task.MaxParamsBytes-8) + `"}`,
			want: params(`{"x":"` + strings.Repeat("y", task.MaxParamsBytes-8) + `"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := time.Now().Add(-time.Second)
			r := s.ctlWith(t.Context(), test.stdin, append([]string{"push"}, test.args...)...)
			require.Empty(t, r.stderr)
			require.Zero(t, r.code)
			id, ok := strings.CutSuffix(r.stdout, "\n")
			require.True(t, ok)
			it, err := b.Find(t.Context(), task.ID(id))
			require.NoError(t, err)
			got := it.Task
			require.WithinRange(t, got.PushedAt, before, time.Now().Add(time.Second))
			got.ID, got.PushedAt = "", time.Time{}
			require.Equal(t, string(test.want.Params), string(got.Params))
			require.Equal(t, test.want, got)
		})
	}
}

func TestPushWithADelay(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	before := time.Now()
	id := s.ids("x", "-delay", "1m30s")[0]
	it, err := s.broker("default").Find(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, brokers.StateScheduled, it.State)
	require.WithinRange(t, it.Task.At, before.Add(90*time.Second), time.Now().Add(90*time.Second))
	id = s.ids("x", "-delay", "0")[0]
	it, err = s.broker("default").Find(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, brokers.StateReady, it.State)
}

func TestPushMany(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	ids := s.ids("x", "-number", "2500", "-p", "a=1")
	require.Len(t, ids, 2500)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(ids))), 2500, "each has an id of its own")
	st, err := s.broker("default").Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, brokers.Stats{Ready: 2500}, st)
	ds := lease(t, s.broker("default"), 3)
	for i, d := range ds {
		require.Equal(t, ids[i], d.Task.ID, "printed in the order of the queue")
	}
}

func TestPushWithAnID(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	for range 2 {
		require.Equal(t, []task.ID{"order-17"}, s.ids("x", "-id", "order-17"))
	}
	st, err := s.broker("default").Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, brokers.Stats{Ready: 1}, st)
	require.JSONEq(t, `{"_id":"a"}`, s.ok("push", "x", "-id", "a", "-json"))
}

const twoBrokers = `
broker "sqlite" "urgent" {
  path     = "urgent.db"
  priority = 0
}
broker "sqlite" "bulk" {
  path     = "bulk.db"
  priority = 10
}
meta_storage "sqlite" "records" {
  path = "records.db"
}
`

func TestPriorityChoosesTheBroker(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoBrokers)
	for priority, want := range map[string]string{"-5": "urgent", "0": "urgent", "1": "bulk", "11": "bulk"} {
		id := s.ids("x", "-priority", priority)[0]
		_, err := s.broker(want).Find(t.Context(), id)
		require.NoError(t, err, priority)
	}
}

// broken is a site one of whose brokers, and one of whose meta storages, cannot be opened.
func broken(t *testing.T) *site {
	s := newSite(t, `
broker "sqlite" "urgent" {
  path     = "broken.db"
  priority = 0
}
broker "sqlite" "bulk" {
  path     = "bulk.db"
  priority = 10
}
meta_storage "sqlite" "broken" {
  path = "broken.db"
}
meta_storage "sqlite" "records" {
  path = "records.db"
}
`)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "broken.db"), []byte(strings.Repeat("this is no database ", 100)), 0o600))
	return s
}

func TestOnlyTheBrokerOfThePriorityNeedsToBeUp(t *testing.T) {
	t.Parallel()
	s := broken(t)
	require.Len(t, s.ids("x", "-priority", "5"), 1)
	r := s.ctl("push", "x", "-number", "3")
	require.Equal(t, 1, r.code)
	require.Empty(t, r.stdout)
	require.Regexp(t, `^leptirctl: broker "urgent": DIR/broken.db is not a database; [^\n]*\n$`, r.stderr)
}

// TestBadInput tells what leptirctl says to command lines that make no sense. Nothing is
// pushed then.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	folder := filepath.Join(s.dir, "plugins")
	write := func(name, text string) string {
		path := filepath.Join(s.dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return "@" + path
	}
	large := write("large.json", `{"x":"`+strings.Repeat("y", task.MaxParamsBytes)+`"}`)
	huge := write("huge.json", strings.Repeat(" ", maxParamsInput+1))
	broken := write("broken.json", "{\n  \"a\": 1,\n}\n")
	var all strings.Builder
	for _, args := range [][]string{
		{},
		{"pusch"},
		{"frobnicate"},
		{"help", "pusch"},
		{"-verbose", "push", "x"},
		{"push"},
		{"push", ""},
		{"push", "no good"},
		{"push", strings.Repeat("x", 129)},
		{"push", "x", "y"},
		{"push", "x", "to=ann"},
		{"push", "x", "-priorty", "3"},
		{"push", "x", "-p"},
		{"push", "x", "-p", "novalue"},
		{"push", "x", "-p", "=1"},
		{"push", "x", "-p", "a=\xff"},
		{"push", "x", "-pto=ann"},
		{"push", "x", "-params", ""},
		{"push", "x", "-params", "[1]"},
		{"push", "x", "-params", "null"},
		{"push", "x", "-params", `{"a":}`},
		{"push", "x", "-params", `{"a":1} {"b":2}`},
		{"push", "x", "-params", "{\"a\":\"\xff\"}"},
		{"push", "x", "-params", broken},
		{"push", "x", "-params", large},
		{"push", "x", "-params", huge},
		{"push", "x", "-params", "@" + folder},
		{"push", "x", "-params", "@" + folder + "/nowhere"},
		{"push", "x", "-params", "-"},
		{"push", "x", "-priority", "high"},
		{"push", "x", "-priority", "1.5"},
		{"push", "x", "-priority", "99999999999"},
		{"push", "x", "-priority", "99999999999999999999"},
		{"push", "x", "-delay", "soon"},
		{"push", "x", "-delay", "-1"},
		{"push", "x", "-delay", "-1s"},
		{"push", "x", "-delay", "nan"},
		{"push", "x", "-delay", "1e300"},
		{"push", "x", "-delay", "2000000h"},
		{"push", "x", "-delay", "1", "-at", "2099-01-01 00:00"},
		{"push", "x", "-at", "2020-01-01T00:00:00Z"},
		{"push", "x", "-at", "tomorrow"},
		{"push", "x", "-at", "2099-02-30 00:00"},
		{"push", "x", "-at", "1e18"},
		{"push", "x", "-at", "-5"},
		{"push", "x", "-time-limit", "-5"},
		{"push", "x", "-time-limit", "-5s"},
		{"push", "x", "-time-limit", "forever"},
		{"push", "x", "-number", "0"},
		{"push", "x", "-number", "-3"},
		{"push", "x", "-number", "1000001"},
		{"push", "x", "-number", "many"},
		{"push", "x", "-id", ""},
		{"push", "x", "-id", "a b"},
		{"push", "x", "-id", "a\x1b[31mb"},
		{"push", "x", "-id", strings.Repeat("i", 129)},
		{"push", "x", "-id", "a", "-number", "2"},
		{"push", "x", "-wait=maybe"},
		{"push", "x", "-timeout", "long"},
		{"push", "x", "---number", "3"},
		{"push", "x", "-broker", "default"},
		{"task"},
		{"task", ""},
		{"task", "a b"},
		{"task", "a", "b"},
		{"task", "a", "-number", "2"},
		{"status", "now"},
		{"validate", "file"},
		{"version", "2"},
		{"dead"},
		{"dead", "lst"},
		{"dead", "list", "x"},
		{"dead", "list", "-limit", "0"},
		{"dead", "list", "-type", "a b"},
		{"dead", "list", "-broker", "nowhere"},
		{"dead", "show"},
		{"dead", "show", "a b"},
		{"dead", "retry"},
		{"dead", "retry", "a", "-type", "x"},
		{"dead", "delete", "a b"},
		{"dead", "purge", "-broker", "nowhere"},
		{"completion", "tcsh"},
		{"completion"},
	} {
		r := s.ctl(args...)
		require.Equal(t, 2, r.code, args)
		require.Empty(t, r.stdout, args)
		require.Regexp(t, `\Aleptirctl: [^\n]+\n\z`, r.stderr)
		require.Less(t, len(r.stderr), 400)
		fmt.Fprintf(&all, "$ leptirctl %s\n%s\n", clip(strings.ReplaceAll(sentence(strings.Join(args, " ")), s.dir, "DIR"), 80), r.stderr)
	}
	golden(t, "bad_input.txt", all.String())
	_, err := os.Stat(filepath.Join(s.dir, "var"))
	require.ErrorIs(t, err, os.ErrNotExist, "nothing was opened, so nothing was pushed")
}

// worker does to a site what a host does: it runs the tasks of the broker "default" until
// ctx ends.
func (s *site) worker(ctx context.Context, run func(brokers.Delivery) (task.Record, brokers.Settlement)) (done chan struct{}) {
	b, st := s.broker("default"), s.store("records")
	done = make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			ds, err := b.Lease(ctx, 100, time.Minute)
			if err != nil {
				return
			}
			var records []task.Record
			var settlements []brokers.Settlement
			for _, d := range ds {
				r, settlement := run(d)
				settlement.ID, settlement.Token = d.Task.ID, d.Token
				records, settlements = append(records, r), append(settlements, settlement)
			}
			_ = st.Put(ctx, records)
			_, _ = b.Settle(ctx, settlements)
			_ = b.(brokers.Waiter).Wait(ctx)
		}
	}()
	return done
}

// finished is the record of a delivery that has ended so.
func finished(d brokers.Delivery, retC task.ReturnCode, resp string) task.Record {
	return task.Record{ID: d.Task.ID, Type: d.Task.Type, Status: task.Completed, RetC: retC, RespM: resp, ExTime: 0.25,
		ExStart: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Run:     task.Run{Attempt: d.Attempt, Delivery: d.Sequence, Ended: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)}}
}

// work starts a worker for the length of the test. The type of a task says how it ends.
func (s *site) work() {
	ctx, stop := context.WithCancel(context.Background())
	done := s.worker(ctx, func(d brokers.Delivery) (task.Record, brokers.Settlement) {
		st := brokers.Settlement{Verdict: brokers.Done}
		switch d.Task.Type {
		case "fails":
			return finished(d, task.Error, "no such\naddress"), brokers.Settlement{Verdict: brokers.Bury, Reason: "no such address"}
		case "timeout":
			return finished(d, task.TimeLimitExceeded, ""), st
		case "flaky":
			if d.Attempt == 1 {
				r := finished(d, task.Error, "try again")
				r.Status, r.Run.Retry = task.Pending, time.Now().Add(30*time.Millisecond)
				return r, brokers.Settlement{Verdict: brokers.Retry, At: r.Run.Retry, Reason: "try again"}
			}
		case "meta":
			r := finished(d, task.Success, "ok")
			r.Meta = map[string]any{"status": "my own", "size": 3}
			return r, st
		}
		return finished(d, task.Success, "ok"), st
	})
	s.t.Cleanup(func() { stop(); <-done })
}

func TestPushAndWait(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.work()
	t.Run("for people", func(t *testing.T) {
		t.Parallel()
		r := s.ctl("push", "fine", "-id", "p1", "-wait", "-timeout", "1m")
		require.Equal(t, result{0, "p1\nID  TYPE  RESULT   TIME     RESPONSE\np1  fine  success  0.250 s  ok\n", ""}, r)
	})
	t.Run("for machines", func(t *testing.T) {
		t.Parallel()
		r := s.ctl("push", "fine", "-number", "1200", "-wait", "-json")
		require.Zero(t, r.code, r.stderr)
		lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
		require.Len(t, lines, 1200)
		for _, line := range lines {
			m := object(t, line)
			require.EqualValues(t, 3, m["status"])
			require.EqualValues(t, 1, m["retC"])
		}
	})
	t.Run("one fails", func(t *testing.T) {
		t.Parallel()
		r := s.ctl("push", "fails", "-id", "p2", "-wait")
		require.Equal(t, 1, r.code)
		require.Contains(t, r.stdout, "p2  fails  error   0.250 s  no such; address\n", r.stderr)
		require.Equal(t, "leptirctl: task p2 failed: error\n", r.stderr)
	})
	t.Run("several run out of time", func(t *testing.T) {
		t.Parallel()
		r := s.ctl("push", "timeout", "-number", "3", "-wait", "-json")
		require.Equal(t, 1, r.code)
		require.Equal(t, 3, strings.Count(r.stdout, `"retC":5`))
		require.Equal(t, "leptirctl: 3 of 3 tasks failed\n", r.stderr)
	})
	t.Run("a later attempt counts", func(t *testing.T) {
		t.Parallel()
		r := s.ctl("push", "flaky", "-wait", "-json")
		require.Zero(t, r.code, r.stderr)
		require.EqualValues(t, 2, object(t, r.stdout)["leptir"].(map[string]any)["attempt"])
	})
	t.Run("meta info over the status", func(t *testing.T) {
		t.Parallel()
		r := s.ctl("push", "meta", "-wait", "-json", "-timeout", "1m")
		require.Zero(t, r.code, r.stderr)
		require.Equal(t, "my own", object(t, r.stdout)["status"])
	})
	t.Run("an old record is not waited for", func(t *testing.T) {
		t.Parallel()
		old := finished(brokers.Delivery{Task: task.Task{ID: "p3", Type: "fine"}, Attempt: 1, Sequence: 1}, task.Error, "old")
		old.Run.Ended = old.Run.Ended.Add(-time.Hour)
		require.NoError(t, s.store("records").Put(t.Context(), []task.Record{old}))
		r := s.ctl("push", "fine", "-id", "p3", "-wait")
		require.Zero(t, r.code, r.stderr)
		require.Contains(t, r.stdout, "p3  fine  success")
	})
}

func TestWaitInVain(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	r := s.ctl("push", "x", "-id", "w1", "-wait", "-timeout", "0.05")
	require.Equal(t, 1, r.code)
	require.Equal(t, "w1\n", r.stdout)
	require.Regexp(t, `^leptirctl: task w1 has not ended within 50ms; it is ready since \S+ in broker "default"\n$`, r.stderr)

	r = s.ctl("push", "x", "-number", "2", "-wait", "-timeout", "50ms")
	require.Equal(t, 1, r.code)
	require.Regexp(t, `^leptirctl: 2 of 2 tasks have not ended within 50ms; the first of them, \S+, is ready since`, r.stderr)

	b := s.broker("default")
	bury(t, b, task.Task{ID: "w2", Type: "x", At: time.Unix(1, 0)}, "no such address")
	r = s.ctl("push", "x", "-id", "w2", "-wait", "-timeout", "1m")
	require.Equal(t, result{1, "", "leptirctl: task w2 is among the dead letters of broker \"default\", where it stays; put it back with: leptirctl dead retry w2\n"}, r)

	// The id is printed before the wait.
	ctx, interrupt := context.WithCancel(t.Context())
	stdout, stderr := &interruptingWriter{interrupt: interrupt}, &strings.Builder{}
	code := Run(ctx, []string{"push", "x", "-wait", "-config", s.file}, strings.NewReader(""), stdout, stderr)
	require.Equal(t, 1, code)
	require.Equal(t, "leptirctl: interrupted: task "+strings.TrimSpace(stdout.String())+" has not ended\n", stderr.String())
}

// interruptingWriter is a terminal whose user presses Ctrl-C at the first output.
type interruptingWriter struct {
	strings.Builder
	interrupt func()
}

func (w *interruptingWriter) Write(b []byte) (int, error) {
	w.interrupt()
	return w.Builder.Write(b)
}

func TestNothingIsPushedThatCannotBeWaitedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t, "meta_storage \"sqlite\" \"records\" {\n  path = \"plugins\"\n}\n")
	r := s.ctl("push", "x", "-wait")
	require.Equal(t, 1, r.code)
	require.Empty(t, r.stdout)
	require.Contains(t, r.stderr, `leptirctl: nothing was pushed, as its record cannot be waited for: meta storage "records": `)
	st, err := s.broker("default").Stats(t.Context())
	require.NoError(t, err)
	require.Zero(t, st)
}

func TestWaitGoesOnWhereOneStoreOfTwoIsDown(t *testing.T) {
	t.Parallel()
	s := newSite(t, `
meta_storage "sqlite" "down" {
  path = "plugins"
}
meta_storage "sqlite" "records" {
  path = "records.db"
}
`)
	r := s.ctl("push", "x", "-wait", "-timeout", "0.05")
	require.Equal(t, 1, r.code)
	require.Regexp(t, `has not ended within 50ms: meta storage "down": `, r.stderr)
	s.work()
	r = s.ctl("push", "x", "-wait")
	require.Zero(t, r.code, r.stderr)
}

// TestInterruptedWhileReading ends leptirctl while it waits for somebody to type.
func TestInterruptedWhileReading(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	stdin, typist := io.Pipe()
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, interrupt)
	var stdout, stderr strings.Builder
	code := Run(ctx, []string{"push", "x", "-params", "-", "-config", s.file}, stdin, &stdout, &stderr)
	require.NoError(t, typist.Close())
	require.Equal(t, 1, code)
	require.Equal(t, "leptirctl: interrupted while reading -params from stdin\n", stderr.String())
}

// flakyStore is a store that answers only so often.
type flakyStore struct {
	metastore.Store
	answers int
}

func (f *flakyStore) Get(ctx context.Context, ids []task.ID) ([]task.Record, error) {
	if f.answers--; f.answers < 0 {
		return nil, fmt.Errorf("connection refused")
	}
	return f.Store.Get(ctx, ids)
}

func TestWaitEndsWhenNoStoreAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	w := &waiter{stores: &stores{open: []metastore.Store{&flakyStore{s.store("records"), 3}}}, cfg: s.config(), found: map[task.ID]task.Record{}}
	require.EqualError(t, w.wait(t.Context(), []task.ID{"x"}), "connection refused")
}

func TestPushMaxAttempts(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoBrokers)
	id := s.ids("x", "-max-attempts", "7")[0]
	it, err := s.broker("urgent").Find(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, 7, it.Task.MaxAttempts)
	require.Equal(t, exitUsage, s.ctl("push", "x", "-max-attempts", "0").code)
	require.Equal(t, exitUsage, s.ctl("push", "x", "-max-attempts", "1001").code)
}
