package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

// past is when tasks of these tests are due.
var past = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestTaskPrintsTheRecord(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	r := finished(brokers.Delivery{Task: task.Task{ID: "t1", Type: "mailer.send"}, Attempt: 1, Sequence: 1}, task.Warning, "sent <twice>")
	r.Meta = map[string]any{"size": 3}
	require.NoError(t, s.store("records").Put(t.Context(), []task.Record{r}))
	want := `{"_id":"t1","exStart":"2026-01-02T03:04:05Z","exTime":0.25,"leptir":{"attempt":1,"delivery":1,"ended":"2026-01-02T03:04:06Z"},"respM":"sent <twice>","retC":2,"size":3,"status":3,"type":"mailer.send"}`
	require.Equal(t, want+"\n", s.ok("task", "t1", "-json"))
	pretty := s.ok("task", "t1")
	require.JSONEq(t, want, pretty)
	require.Contains(t, pretty, "{\n  \"_id\": \"t1\",\n")
	require.JSONEq(t, want, s.ok("task", "-wait", "t1"), "it has ended, so there is nothing to wait for")
}

func TestTaskAsATable(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	running := task.Record{ID: "t1", Type: "mailer.send", Status: task.InProgress, ExStart: past,
		Run: task.Run{Attempt: 2, Delivery: 1, States: []int{1, 4}, Progress: &task.Progress{Fraction: 0.25, Text: "page\x1b[31m 1 of 4"}}}
	failed := finished(brokers.Delivery{Task: task.Task{ID: "t2", Type: "mailer.send"}, Attempt: 1, Sequence: 1}, task.Error, "no such mailbox")
	failed.Run.Error, failed.Run.Undo = "no such mailbox", &task.Undo{State: task.UndoPushed, ID: "t2.undo", Type: "mailer.recall"}
	require.NoError(t, s.store("records").Put(t.Context(), []task.Record{running, failed}))
	require.Equal(t, "FIELD     VALUE\nid        t1\ntype      mailer.send\nstatus    in progress\nattempt   2\nprogress  25% page\\u001b[31m 1 of 4\nstates    1 4\n",
		s.ok("task", "t1", "-table"))
	require.Equal(t, "FIELD     VALUE\nid        t2\ntype      mailer.send\nresult    error\ntime      0.250 s\nresponse  no such mailbox\nerror     no such mailbox\n"+
		"undo      pushed mailer.recall t2.undo\n", s.ok("task", "t2", "-table"))
	r := s.ctl("task", "t1", "-table", "-json")
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, "-json and -table exclude each other")
}

// TestTaskThatHasNoRecord tells of tasks what their broker knows.
func TestTaskThatHasNoRecord(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoBrokers)
	urgent, bulk := s.broker("urgent"), s.broker("bulk")
	ctx := t.Context()
	dead := task.Task{ID: "dead", Type: "x", At: past}
	bury(t, urgent, dead, "no such address")
	require.NoError(t, urgent.Push(ctx, []task.Task{{ID: "leased", Type: "x", At: past}}))
	lease(t, urgent, 1)
	require.NoError(t, urgent.Push(ctx, []task.Task{{ID: "parked", Type: "x", At: past}}))
	settle(t, urgent, lease(t, urgent, 1)[0], brokers.Release, time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC), "no plugin serves x")
	require.NoError(t, urgent.Push(ctx, []task.Task{{ID: "ready", Type: "x", At: past}}))
	require.NoError(t, bulk.Push(ctx, []task.Task{{ID: "scheduled", Type: "x", At: time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC)}}))
	db, err := sqlitedb.Open(ctx, sqlitedb.Options{Path: filepath.Join(s.dir, "bulk.db")})
	require.NoError(t, err)
	require.NoError(t, db.Write(ctx, func(c *sqlitedb.Conn) error {
		_, err := c.Exec(`INSERT INTO tasks(id,state,at,due,body) VALUES('unreadable',0,0,0,'rubbish')`)
		return err
	}))
	require.NoError(t, db.Close())

	for id, note := range map[string]string{
		"ready":     `ready since 2026-01-02T03:04:05Z in broker "urgent"`,
		"scheduled": `scheduled for 2099-01-02T03:04:05Z in broker "bulk"`,
		"parked":    `scheduled for 2099-01-02T03:04:05Z in broker "urgent": parked, no plugin serves x`,
		"dead":      `a dead letter in broker "urgent": no such address`,
	} {
		attempt := ""
		if id == "dead" {
			attempt = `"attempt":1,`
		}
		require.JSONEq(t, fmt.Sprintf(`{"_id":%q,"status":1,"exTime":0,"respM":"","type":"x","leptir":{%s"note":%q}}`, id, attempt, note), s.ok("task", id))
	}
	require.Regexp(t, `"note":"leased by a host until \S+Z in broker \\"urgent\\""`, s.ok("task", "leased", "-json"))
	require.Regexp(t, `"type":"","leptir":{"note":"ready since 1970-01-01T00:00:00Z in broker \\"bulk\\": its message cannot be read"}`, s.ok("task", "unreadable", "-json"))

	r := s.ctl("task", "nobody")
	require.Equal(t, result{1, "", "leptirctl: there is no task nobody: no broker has it, and no meta storage has a record of it\n"}, r)
	r = s.ctl("task", "nobody", "-wait")
	require.Equal(t, 1, r.code, "there is nothing to wait for")
}

func TestTaskThatIsQueuedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	b, st := s.broker("default"), s.store("records")
	ctx := t.Context()

	// A dead letter has its record.
	require.NoError(t, b.Push(ctx, []task.Task{{ID: "a", Type: "x", At: past}}))
	d := lease(t, b, 1)[0]
	require.NoError(t, st.Put(ctx, []task.Record{finished(d, task.Error, "failed")}))
	settle(t, b, d, brokers.Bury, time.Time{}, "failed")
	require.Contains(t, s.ok("task", "a", "-json"), `"retC":3`)

	// Put back, it is pending.
	require.Equal(t, "a\n", s.ok("dead", "retry", "a"))
	out := s.ok("task", "a", "-json")
	require.Contains(t, out, `"status":1`)
	require.Contains(t, out, `"note":"ready since`)
	r := s.ctl("task", "a", "-wait", "-timeout", "0.05", "-json")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stdout, `"status":1`, "what is known is printed all the same")
	require.Contains(t, r.stderr, "leptirctl: task a has not ended within 50ms; it is ready since")

	// The record of the new run is what is waited for.
	d = lease(t, b, 1)[0]
	again := finished(d, task.Success, "worked")
	again.Run.Ended = again.Run.Ended.Add(time.Hour)
	require.NoError(t, st.Put(ctx, []task.Record{again}))
	require.Contains(t, s.ok("task", "a", "-wait", "-json"), `"retC":1`)
	settle(t, b, d, brokers.Done, time.Time{}, "")

	// A host that dies between record and settlement leaves the task in the queue.
	require.NoError(t, b.Push(ctx, []task.Task{{ID: "b", Type: "x"}}))
	ds, err := b.Lease(ctx, 1, time.Millisecond)
	require.NoError(t, err)
	require.NoError(t, st.Put(ctx, []task.Record{finished(ds[0], task.Success, "done")}))
	require.Eventually(t, func() bool {
		it, err := b.Find(ctx, "b")
		return err == nil && it.State == brokers.StateReady
	}, 10*time.Second, 5*time.Millisecond)
	require.Contains(t, s.ok("task", "b", "-json"), `"retC":1`)
}

func TestTaskWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	for _, typ := range []string{"fine", "fails", "flaky"} {
		s.ids(typ, "-id", typ)
	}
	s.work()
	require.Contains(t, s.ok("task", "fine", "-wait", "-json"), `"retC":1`)
	require.Contains(t, s.ok("task", "fails", "-wait", "-json"), `"retC":3`, "that it failed is what was asked, no failure")
	require.Contains(t, s.ok("task", "flaky", "-wait", "-json"), `"attempt":2`)

	s = newSite(t, "")
	s.ids("slow", "-id", "slow")
	d := lease(t, s.broker("default"), 1)[0]
	require.NoError(t, s.store("records").Put(t.Context(), []task.Record{{ID: "slow", Type: "slow", Status: task.InProgress, ExStart: past,
		Run: task.Run{Attempt: 1, Delivery: task.DeliveryOrder(d.Task.PushedAt, d.Sequence), Progress: &task.Progress{Fraction: 0.5, Text: "page 2 of 4"}}}}))
	r := s.ctl("task", "slow", "-wait", "-timeout", "0.1")
	require.Equal(t, 1, r.code)
	require.Regexp(t, `^leptirctl: task slow has not ended within 100ms; it is leased by a host until \S+ in broker "default"; progress: 50% page 2 of 4\n$`, r.stderr)

	s = newSite(t, "")
	s.ids("x", "-id", "x")
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, interrupt)
	r = s.ctlWith(ctx, "", "task", "x", "-wait")
	require.Equal(t, 1, r.code)
	require.True(t, strings.HasPrefix(r.stderr, "leptirctl: interrupted: "), r.stderr)
}

func TestTheFirstStoreThatHasTheRecordCounts(t *testing.T) {
	t.Parallel()
	s := newSite(t, `
meta_storage "sqlite" "one" {
  path = "one.db"
}
meta_storage "sqlite" "two" {
  path = "two.db"
}
`)
	d := func(id task.ID) brokers.Delivery {
		return brokers.Delivery{Task: task.Task{ID: id, Type: "x"}, Attempt: 1}
	}
	require.NoError(t, s.store("one").Put(t.Context(), []task.Record{finished(d("both"), task.Success, "one")}))
	require.NoError(t, s.store("two").Put(t.Context(), []task.Record{finished(d("both"), task.Success, "two"), finished(d("second"), task.Success, "two")}))
	require.Contains(t, s.ok("task", "both", "-json"), `"respM":"one"`)
	require.Contains(t, s.ok("task", "second", "-json"), `"respM":"two"`)
}

func TestTaskWhereSomeAreDown(t *testing.T) {
	t.Parallel()
	s := broken(t)
	require.NoError(t, s.store("records").Put(t.Context(), []task.Record{finished(brokers.Delivery{Task: task.Task{ID: "a", Type: "x"}, Attempt: 1}, task.Success, "ok")}))
	require.Contains(t, s.ok("task", "a", "-json"), `"respM":"ok"`, "what is found is right whoever is down")
	s.ids("x", "-id", "b", "-priority", "10")
	require.Contains(t, s.ok("task", "b", "-json"), `"status":1`)
	r := s.ctl("task", "c")
	require.Equal(t, 1, r.code)
	require.Empty(t, r.stdout)
	require.Regexp(t, `^leptirctl: task c: not found where it could be looked for: meta storage "broken": .* broker "urgent": .*\n$`, r.stderr)

	require.NoError(t, os.WriteFile(s.file, []byte("meta_storage \"sqlite\" \"broken\" {\n  path = \"broken.db\"\n}\n"), 0o600))
	r = s.ctl("task", "a")
	require.Equal(t, 1, r.code)
	require.True(t, strings.HasPrefix(r.stderr, `leptirctl: meta storage "broken": `), r.stderr)
}

// lateStore has no record when first asked, as of a task that ends meanwhile.
type lateStore struct {
	metastore.Store
	asked int
	err   error // of the second answer
}

func (s *lateStore) Get(_ context.Context, ids []task.ID) ([]task.Record, error) {
	if s.asked++; s.asked == 1 {
		return nil, nil
	}
	return []task.Record{{ID: ids[0], Status: task.Completed}}, s.err
}

func TestTaskEndsBetweenTwoLooks(t *testing.T) {
	t.Parallel()
	cfg := newSite(t, "").config()
	r, stale, err := lookUp(t.Context(), cfg, &stores{open: []metastore.Store{&lateStore{}}}, "x")
	require.NoError(t, err)
	require.Equal(t, task.Completed, r.Status)
	require.Empty(t, stale)

	_, _, err = lookUp(t.Context(), cfg, &stores{open: []metastore.Store{&lateStore{err: errors.New("down")}}}, "x")
	require.EqualError(t, err, "task x: not found where it could be looked for: down")
}
