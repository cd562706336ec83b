package ctl

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/task"
)

// graveyard is a site with dead letters in both brokers, and with a task that is ready.
func graveyard(t *testing.T) *site {
	s := newSite(t, twoBrokers)
	bury(t, s.broker("urgent"), task.Task{ID: "u1", Type: "mailer.send", Params: json.RawMessage(`{"to":"ann"}`), At: past}, "no such address")
	bury(t, s.broker("urgent"), task.Task{ID: "u2", Type: "report.make", At: past}, "first line\nsecond line \x1b[31m")
	bury(t, s.broker("bulk"), task.Task{ID: "b1", Type: "mailer.send", At: past}, "no such address")
	require.NoError(t, s.broker("bulk").Push(t.Context(), []task.Task{{ID: "alive", Type: "mailer.send"}}))
	return s
}

// dead returns the ids of the dead letters of both brokers.
func (s *site) dead(args ...string) (ids []string) {
	s.t.Helper()
	for line := range strings.Lines(s.ok(append([]string{"dead", "list", "-json"}, args...)...)) {
		ids = append(ids, object(s.t, line)["_id"].(string))
	}
	return ids
}

func TestDeadList(t *testing.T) {
	t.Parallel()
	s := graveyard(t)
	require.Equal(t, []string{"u1", "u2", "b1"}, s.dead())
	require.Equal(t, []string{"u1", "u2"}, s.dead("-broker", "urgent"))
	require.Equal(t, []string{"u1", "b1"}, s.dead("-type", "mailer.send"))
	require.Equal(t, []string{"b1"}, s.dead("-type", "mailer.send", "-broker", "bulk"))
	require.Equal(t, []string{"u1"}, s.dead("-limit", "1"))
	require.Empty(t, s.dead("-type", "nobody"))

	out := s.ok("dead", "list")
	require.Regexp(t, `^ID  TYPE         BROKER  ATTEMPTS  DIED                 REASON
u1  mailer.send  urgent  1         \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  no such address
u2  report.make  urgent  1         \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  first line; second line \\u001b\[31m
b1  mailer.send  bulk    1         \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  no such address
$`, out)
	require.Contains(t, s.ok("dead", "list", "-limit", "2"), "\nthere are more than 2; -limit lists more of them\n")
	require.NotContains(t, s.ok("dead", "list", "-limit", "3"), "there are more")
	require.Empty(t, newSite(t, "").ok("dead", "list"))
}

func TestDeadShow(t *testing.T) {
	t.Parallel()
	s := graveyard(t)
	m := object(t, s.ok("dead", "show", "u1"))
	require.Equal(t, map[string]any{"to": "ann"}, m["params"])
	require.Equal(t, "urgent", m["broker"])
	require.Equal(t, "mailer.send", m["type"])
	require.Equal(t, "2026-01-02T03:04:05Z", m["due"])
	require.EqualValues(t, 1, m["attempts"])
	require.Len(t, m["history"], 1)
	require.Equal(t, 1, strings.Count(s.ok("dead", "show", "u1", "-json"), "\n"))

	r := s.ctl("dead", "show", "alive")
	require.Equal(t, 1, r.code)
	require.Regexp(t, `^leptirctl: task alive is not a dead letter, it is ready since \S+ in broker "bulk"\n$`, r.stderr)
	for _, args := range [][]string{{"nobody"}, {"u1", "-broker", "bulk"}} {
		r = s.ctl(append([]string{"dead", "show"}, args...)...)
		require.Equal(t, result{1, "", "leptirctl: " + args[0] + " is not among the dead letters\n"}, r)
	}
}

func TestDeadShowsMessagesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	b := s.broker("default")
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Options{Path: filepath.Join(s.dir, "var/leptir.db")})
	require.NoError(t, err)
	for id, body := range map[string]string{"text": "rubbish", "bytes": "\xff\x00"} {
		require.NoError(t, db.Write(t.Context(), func(c *sqlitedb.Conn) error {
			_, err := c.Exec(`INSERT INTO tasks(id,state,at,due,body) VALUES(?,0,0,0,?)`, id, []byte(body))
			return err
		}))
	}
	require.NoError(t, db.Close())
	for _, d := range lease(t, b, 2) {
		settle(t, b, d, brokers.Bury, past, "unreadable message")
	}
	require.Equal(t, "rubbish", object(t, s.ok("dead", "show", "text"))["raw"])
	require.Equal(t, base64.StdEncoding.EncodeToString([]byte("\xff\x00")), object(t, s.ok("dead", "show", "bytes"))["raw_base64"])
}

func TestDeadRetry(t *testing.T) {
	t.Parallel()
	s := graveyard(t)
	require.Equal(t, "u2\nb1\n", s.ok("dead", "retry", "u2", "b1", "u2"))
	require.Equal(t, []string{"u1"}, s.dead())
	it, err := s.broker("urgent").Find(t.Context(), "u2")
	require.NoError(t, err)
	require.Equal(t, brokers.StateReady, it.State)

	require.Equal(t, result{1, "", "leptirctl: u2 is not among the dead letters\n"}, s.ctl("dead", "retry", "u2"))
	require.Equal(t, result{1, "u1\n", "leptirctl: 2 of 3 are not among the dead letters: alive, nobody\n"}, s.ctl("dead", "retry", "alive", "u1", "nobody"))

	s = graveyard(t)
	require.Equal(t, "u1\nb1\n", s.ok("dead", "retry", "-type", "mailer.send"))
	require.Equal(t, []string{"u2"}, s.dead())
	require.Empty(t, s.ok("dead", "retry", "-type", "mailer.send"), "none is no failure")
	require.Equal(t, 1, s.ctl("dead", "retry", "u2", "-broker", "bulk").code)
	require.Equal(t, "u2\n", s.ok("dead", "retry", "u2", "-broker", "urgent"))
}

func TestDeadDelete(t *testing.T) {
	t.Parallel()
	s := graveyard(t)
	require.Equal(t, result{1, "b1\n", "leptirctl: 1 of 2 are not among the dead letters: alive\n"}, s.ctl("dead", "delete", "alive", "b1"))
	_, err := s.broker("bulk").Find(t.Context(), "alive")
	require.NoError(t, err, "only dead letters are deleted")
	require.Equal(t, "u1\n", s.ok("dead", "delete", "-type", "mailer.send"))
	require.Equal(t, []string{"u2"}, s.dead())
}

func TestDeadPurge(t *testing.T) {
	t.Parallel()
	s := graveyard(t)
	require.Equal(t, "deleted 1 dead letter\n", s.ok("dead", "purge", "-type", "mailer.send", "-broker", "urgent"))
	require.Equal(t, []string{"u2", "b1"}, s.dead())
	require.JSONEq(t, `{"deleted":2}`, s.ok("dead", "purge", "-json"))
	require.Equal(t, "deleted 0 dead letters\n", s.ok("dead", "purge"))
	_, err := s.broker("bulk").Find(t.Context(), "alive")
	require.NoError(t, err)
}

// TestManyDeadLetters has more of them than fit a page.
func TestManyDeadLetters(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	b := s.broker("default")
	const n = 3*deadPage + 7
	tasks := make([]task.Task, n)
	for i := range tasks {
		tasks[i] = task.Task{ID: task.ID(fmt.Sprintf("d%04d", i)), Type: fmt.Sprint("x", i%2)}
	}
	require.NoError(t, b.Push(t.Context(), tasks))
	var settlements []brokers.Settlement
	for _, d := range lease(t, b, n) {
		settlements = append(settlements, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Bury, Reason: "failed"})
	}
	_, err := b.Settle(t.Context(), settlements)
	require.NoError(t, err)

	require.Len(t, s.dead(), deadListed)
	require.Len(t, s.dead("-limit", "10000"), n)
	require.Equal(t, (n+1)/2, strings.Count(s.ok("dead", "retry", "-type", "x0"), "\n"))
	require.JSONEq(t, fmt.Sprintf(`{"deleted":%d}`, n/2), s.ok("dead", "purge", "-json"))
	st, err := b.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, brokers.Stats{Ready: (n + 1) / 2}, st)
}

func TestDeadWhereABrokerIsDown(t *testing.T) {
	t.Parallel()
	s := broken(t)
	bury(t, s.broker("bulk"), task.Task{ID: "b1", Type: "x", At: past}, "failed")
	bury(t, s.broker("bulk"), task.Task{ID: "b2", Type: "x", At: past}, "failed")
	down := `^leptirctl: broker "urgent": DIR/broken.db is not a database; [^\n]*\n$`

	r := s.ctl("dead", "list")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stdout, "b1")
	require.Regexp(t, down, r.stderr)
	s.ok("dead", "list", "-broker", "bulk")

	require.Contains(t, s.ok("dead", "show", "b1"), `"_id": "b1"`)
	r = s.ctl("dead", "show", "b3")
	require.Equal(t, 1, r.code)
	require.Regexp(t, down, r.stderr)

	require.Equal(t, "b1\n", s.ok("dead", "retry", "b1"), "all that was asked for is done")
	r = s.ctl("dead", "retry", "b3")
	require.Equal(t, 1, r.code)
	require.Regexp(t, down, r.stderr)

	r = s.ctl("dead", "purge")
	require.Equal(t, 1, r.code)
	require.Equal(t, "deleted 1 dead letter\n", r.stdout)
	require.Regexp(t, down, r.stderr)
}

func TestDeadFilters(t *testing.T) {
	t.Parallel()
	s := graveyard(t)
	require.Equal(t, []string{"u1", "b1"}, s.dead("-reason", "SUCH address"))
	require.Equal(t, []string{"u2"}, s.dead("-reason", "second line"))
	require.Empty(t, s.dead("-older", "1h"))
	require.Equal(t, []string{"u1", "u2", "b1"}, s.dead("-newer", "1h"))
	require.Equal(t, []string{"u1"}, s.dead("-newer", "1h", "-type", "mailer.send", "-reason", "address", "-broker", "urgent"))
	require.Equal(t, exitUsage, s.ctl("dead", "list", "-older", "0").code)
	require.Equal(t, exitUsage, s.ctl("dead", "retry", "-broker", "urgent").code, "that would be all of them")
	require.Equal(t, exitUsage, s.ctl("dead", "delete", "u1", "-reason", "x").code)

	require.Equal(t, "deleted 0 dead letters\n", s.ok("dead", "purge", "-older", "24h"))
	require.Equal(t, "u2\n", s.ok("dead", "delete", "-reason", "second"))
	require.Equal(t, "u1\n", s.ok("dead", "retry", "-broker", "urgent", "-newer", "1h"))
	require.Equal(t, "deleted 1 dead letter\n", s.ok("dead", "purge", "-reason", "no such"))
	require.Empty(t, s.dead())
}
