package sqlite

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/task"
)

func tasks(n int, params string) []task.Task {
	ts := make([]task.Task, n)
	for i := range ts {
		ts[i] = task.Task{ID: task.NewID(), Type: "a", Params: []byte(params), PushedAt: time.Now()}
	}
	return ts
}

func change(t *testing.T, b *Broker, query string, args ...any) {
	t.Helper()
	require.NoError(t, b.db.Write(t.Context(), func(c *sqlitedb.Conn) error { _, err := c.Exec(query, args...); return err }))
}

func TestOpenNamesTheBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := Defaults()
	s.Path = settings.Path(dir)
	_, err := s.Open(t.Context(), brokers.Env{Name: "urgent", Logger: slog.New(slog.DiscardHandler)})
	require.EqualError(t, err, `broker "urgent": `+dir+` is a folder; the path of the database must be a file`)
}

func TestErrorsNameTheBrokerAndTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "q.db")
	s := Defaults()
	s.Path, s.BusyTimeout = settings.Path(path), 100*time.Millisecond
	b, err := s.Open(t.Context(), brokers.Env{Name: "urgent"})
	require.NoError(t, err)
	defer b.Close()
	hog := start(t, "hog", path, "hog")
	require.Equal(t, "locked", <-hog.lines)
	_, err = b.Lease(t.Context(), 1, time.Minute)
	require.Regexp(t, `^broker "urgent": lease: .*/q\.db is locked by another process \(waited [1-9]\d\dms|\d+\.\d+s\)$`, err)
	st, err := b.Stats(t.Context())
	require.NoError(t, err, "counting goes on while another process writes")
	require.Equal(t, brokers.Stats{}, st)
	require.NoError(t, hog.stdin.Close())
	hog.rest()
	require.NoError(t, hog.cmd.Wait())
	require.NoError(t, b.Push(t.Context(), tasks(1, "")))
	require.NoError(t, b.Close())
	require.EqualError(t, b.Push(t.Context(), tasks(1, "")), `broker "urgent": push: broker is closed`)
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	b := open(t, filepath.Join(t.TempDir(), "q.db"), nil)
	defer b.Close()
	require.NoError(t, b.Push(t.Context(), tasks(10, "")))
	change(t, b, "PRAGMA max_page_count = 40")

	big := tasks(50, `{"x":"`+strings.Repeat("x", 10_000)+`"}`)
	err := b.Push(t.Context(), big)
	require.EqualError(t, err, `broker "test": push: `+b.db.Path()+`: the disk is full; nothing was written, free some room and it works again: database or disk is full (13)`)
	st, err := b.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, brokers.Stats{Ready: 10}, st, "nothing half-pushed")

	ds, err := b.Lease(t.Context(), 5, time.Minute)
	require.NoError(t, err, "what is there can be worked on, which makes room")
	for _, d := range ds {
		lost, err := b.Settle(t.Context(), []brokers.Settlement{{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done}})
		require.NoError(t, err)
		require.Empty(t, lost)
	}
	change(t, b, "PRAGMA max_page_count = 100000")
	require.NoError(t, b.Push(t.Context(), big))
	st, err = b.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, brokers.Stats{Ready: 5 + 50}, st)
}

// Rows that somebody has edited by hand, or written from another program.
func TestOddRows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "q.db")
	b := open(t, path, nil)
	defer b.Close()
	good := tasks(1, "")
	require.NoError(t, b.Push(t.Context(), good))
	raw, err := task.Encode(&good[0])
	require.NoError(t, err)
	injectRaw(t, path, "another-id", raw)
	injectRaw(t, path, "empty", []byte{})
	change(t, b, `UPDATE tasks SET history='[{' WHERE id=?`, string(good[0].ID))

	ds, err := b.Lease(t.Context(), 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, ds, 3)
	for _, d := range ds {
		switch d.Task.ID {
		case good[0].ID:
			require.NoError(t, d.Unreadable)
		case "another-id":
			require.EqualError(t, d.Unreadable, fmt.Sprintf("the message is of task %s, but queued as another-id", good[0].ID))
			require.Equal(t, raw, d.Raw)
		case "empty":
			require.Error(t, d.Unreadable)
		}
		lost, err := b.Settle(t.Context(), []brokers.Settlement{{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Bury, Reason: "odd"}})
		require.NoError(t, err, "even with a history that cannot be read")
		require.Empty(t, lost)
	}
	items, next, err := b.List(t.Context(), brokers.StateDead, "", 10)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Len(t, items, 3)
	for _, it := range items {
		require.Len(t, it.History, 1)
		require.Equal(t, "odd", it.History[0].Reason)
	}
}

// A batch holds at most maxAnswer bytes of messages, and the rest is for the next.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	b := open(t, filepath.Join(t.TempDir(), "q.db"), nil)
	defer b.Close()
	b.maxAnswer = 65_000
	require.NoError(t, b.Push(t.Context(), tasks(10, `{"x":"`+strings.Repeat("x", 10_000)+`"}`)))
	items, next, err := b.List(t.Context(), brokers.StateReady, "", 1000)
	require.NoError(t, err)
	require.Equal(t, 7, len(items))
	require.NotEmpty(t, next)
	items, next, err = b.List(t.Context(), brokers.StateReady, next, 1000)
	require.NoError(t, err)
	require.Equal(t, 3, len(items))
	require.Empty(t, next)

	first, err := b.Lease(t.Context(), 1000, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 7, len(first))
	second, err := b.Lease(t.Context(), 1000, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 3, len(second))
}

// The counts of a long queue are remembered for a moment.
func TestStatsOfALongQueue(t *testing.T) {
	t.Parallel()
	b := open(t, filepath.Join(t.TempDir(), "q.db"), nil)
	defer b.Close()
	b.stats.long = 500
	change(t, b, `WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM r WHERE x<=?)
		INSERT INTO tasks(id,state,at,due,body) SELECT x,2,x,x,'' FROM r`, b.stats.long)
	st, err := b.Stats(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 501, st.Dead)
	require.True(t, b.stats.until.After(time.Now().Add(-time.Minute)), "remembered")
	change(t, b, `DELETE FROM tasks`)
	require.Eventually(t, func() bool {
		st, err := b.Stats(t.Context())
		return err == nil && st == brokers.Stats{}
	}, 30*time.Second, 10*time.Millisecond, "but not for ever")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.stats.until = time.Now().Add(time.Hour)
	_, err = b.Stats(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestLongReasonsAreCut(t *testing.T) {
	t.Parallel()
	b := open(t, filepath.Join(t.TempDir(), "q.db"), nil)
	defer b.Close()
	ts := tasks(1, "")
	require.NoError(t, b.Push(t.Context(), ts))
	ds, err := b.Lease(t.Context(), 1, time.Minute)
	require.NoError(t, err)
	_, err = b.Settle(t.Context(), []brokers.Settlement{{ID: ts[0].ID, Token: ds[0].Token, Verdict: brokers.Bury, Reason: strings.Repeat("ž", 1<<20)}})
	require.NoError(t, err)
	it, err := b.Find(t.Context(), ts[0].ID)
	require.NoError(t, err)
	require.LessOrEqual(t, len(it.History[0].Reason), brokers.MaxReasonBytes)
	require.Equal(t, "…", strings.TrimLeft(it.History[0].Reason, "ž"))
}

func TestValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, Defaults().Validate())
	for _, c := range []struct {
		change func(*Settings)
		want   string
	}{
		{func(s *Settings) { s.Path = "" }, "path is empty"},
		{func(s *Settings) { s.Synchronous = "off" }, `synchronous is "off"; it can be "normal" or "full"`},
		{func(s *Settings) { s.BusyTimeout = -1 }, "busy_timeout must be more than 0"},
	} {
		s := Defaults()
		c.change(s)
		require.EqualError(t, s.Validate(), c.want)
	}
}

func TestCursor(t *testing.T) {
	t.Parallel()
	b := open(t, filepath.Join(t.TempDir(), "q.db"), nil)
	defer b.Close()
	for _, cursor := range []string{"x", "1", "1.", ".1", "1.x", "99999999999999999999.1"} {
		_, _, err := b.List(t.Context(), brokers.StateReady, cursor, 10)
		require.EqualError(t, err, fmt.Sprintf(`broker "test": list ready tasks: %q is not a cursor that List returned`, cursor))
	}
}

func FuzzToken(f *testing.F) {
	f.Add("1.2")
	f.Add("")
	f.Add("zz.zz.zz")
	f.Add("-1.-1")
	f.Add("+1.+1")
	f.Fuzz(func(t *testing.T, s string) {
		n, token, ok := parseToken(s)
		if !ok {
			return
		}
		n2, token2, ok := parseToken(formatToken(n, token))
		require.True(t, ok)
		require.Equal(t, n, n2)
		require.Equal(t, token, token2)
	})
}

func TestFilesArePrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "var", "q.db")
	b := open(t, path, nil)
	defer b.Close()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}
