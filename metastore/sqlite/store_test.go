package sqlite

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/metastore/metastoretest"
	"github.com/backplane/leptir/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(tb testing.TB, s *Settings) *Store {
	tb.Helper()
	st, err := s.Open(context.Background(), metastore.Env{Name: "test", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(tb, err)
	return st.(*Store)
}

func at(path string) *Settings {
	s := Defaults()
	s.Path = settings.Path(path)
	return s
}

func harness(expireAfter time.Duration) metastoretest.Harness {
	return metastoretest.Harness{New: func(tb testing.TB) metastoretest.Place {
		path := filepath.Join(tb.TempDir(), "info.db")
		return metastoretest.Place{Open: func(tb testing.TB) metastore.Store {
			s := at(path)
			s.ExpireAfter = expireAfter
			return open(tb, s)
		}}
	}}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]time.Duration{"for ever": 0, "for an hour": time.Hour} {
		t.Run(name, func(t *testing.T) { metastoretest.Run(t, harness(d)) })
	}
}

func BenchmarkStore(b *testing.B)         { metastoretest.Bench(b, harness(0)) }
func BenchmarkExpiringStore(b *testing.B) { metastoretest.Bench(b, harness(time.Hour)) }

func record(id string) task.Record {
	return task.Record{ID: task.ID(id), Status: task.Completed, RetC: task.Success, Type: "a"}
}

func rows(t *testing.T, s *Store) (n int64) {
	t.Helper()
	require.NoError(t, s.db.Read(t.Context(), func(c *sqlitedb.Conn) (err error) {
		n, err = c.Int(`SELECT count(*) FROM info`)
		return err
	}))
	return n
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := at(filepath.Join(t.TempDir(), "info.db"))
	s.ExpireAfter, s.now = time.Hour, func() time.Time { return now }
	st := open(t, s)
	defer st.Close()

	var old []task.Record
	var ids []task.ID
	for i := range 50 {
		old = append(old, record(fmt.Sprint("old-", i)))
		ids = append(ids, old[i].ID)
	}
	require.NoError(t, st.Put(t.Context(), old))
	now = now.Add(59 * time.Minute)
	require.NoError(t, st.Put(t.Context(), old[:1])) // written again: lives on
	got, err := st.Get(t.Context(), ids)
	require.NoError(t, err)
	require.Len(t, got, 50)

	now = now.Add(time.Minute)
	got, err = st.Get(t.Context(), ids)
	require.NoError(t, err)
	require.Len(t, got, 1, "expired records are gone at once for readers")
	require.EqualValues(t, 50, rows(t, st), "and from the file as new ones are put")
	for i := range 5 {
		require.NoError(t, st.Put(t.Context(), []task.Record{record(fmt.Sprint("new-", i))}))
	}
	require.EqualValues(t, 1+5, rows(t, st))
}

// A put deletes only a few records, however many have expired.
func TestExpiryIsGradual(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := at(filepath.Join(t.TempDir(), "info.db"))
	s.ExpireAfter, s.now = time.Hour, func() time.Time { return now }
	st := open(t, s)
	defer st.Close()
	var old []task.Record
	for i := range 1000 {
		old = append(old, record(fmt.Sprint("old-", i)))
	}
	require.NoError(t, st.Put(t.Context(), old))
	now = now.Add(2 * time.Hour)
	require.NoError(t, st.Put(t.Context(), []task.Record{record("new")}))
	require.Greater(t, rows(t, st), int64(900))
}

func TestUnreadableRecord(t *testing.T) {
	t.Parallel()
	st := open(t, at(filepath.Join(t.TempDir(), "info.db")))
	defer st.Close()
	require.NoError(t, st.Put(t.Context(), []task.Record{record("good"), record("bad")}))
	require.NoError(t, st.db.Write(t.Context(), func(c *sqlitedb.Conn) error {
		_, err := c.Exec(`UPDATE info SET record='{' WHERE id='bad'`)
		return err
	}))
	_, err := st.Get(t.Context(), []task.ID{"good", "bad"})
	require.ErrorContains(t, err, `meta storage "test": get: the record of task bad cannot be read: unexpected end of JSON input`)
	require.NoError(t, st.Put(t.Context(), []task.Record{record("bad")}), "putting it again mends it")
	got, err := st.Get(t.Context(), []task.ID{"good", "bad"})
	require.NoError(t, err)
	require.Len(t, got, 2)
}

func TestValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, Defaults().Validate())
	for _, c := range []struct {
		change func(*Settings)
		want   string
	}{
		{func(s *Settings) { s.Path = "" }, "path is empty"},
		{func(s *Settings) { s.Synchronous = "sometimes" }, `synchronous is "sometimes"; it can be "normal" or "full"`},
		{func(s *Settings) { s.BusyTimeout = 0 }, "busy_timeout must be more than 0"},
		{func(s *Settings) { s.ExpireAfter = -time.Second }, "expire_after is negative (-1s); 0 keeps records for ever"},
	} {
		s := Defaults()
		c.change(s)
		require.EqualError(t, s.Validate(), c.want)
	}
}

func TestOpenNamesTheStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := at(dir).Open(t.Context(), metastore.Env{Name: "records"})
	require.EqualError(t, err, `meta storage "records": `+dir+` is a folder; the path of the database must be a file`)
}
