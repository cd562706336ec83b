package mongodb_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/mongotest"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/metastore/mongodb"
	"github.com/backplane/leptir/task"
)

// store returns a store on a new database, and the collection behind it.
func store(t *testing.T, change ...func(*mongodb.Settings)) (metastore.Store, *mongo.Collection) {
	database := mongotest.Database(t)
	s := open(t, database, change...)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, mongotest.Client(t).Database(database).Collection("info")
}

// TestMetaInfo is the suite's case of that name without lists within lists.
func TestMetaInfo(t *testing.T) {
	t.Parallel()
	s, c := store(t)
	r := task.Record{ID: "t1", Type: "a", Meta: map[string]any{
		"customer": "Žabac & sons <ltd>", "amount": 12.5, "count": 3.0, "ok": true, "nothing": nil, "by.city": "x",
		"list": []any{"a", 1.0, false, nil}, "object": map[string]any{"a": map[string]any{"$b": "c"}},
	}}
	require.NoError(t, s.Put(t.Context(), []task.Record{r}))
	got, err := s.Get(t.Context(), []task.ID{"t1"})
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, r.Meta, got[0].Meta)
	n, err := c.CountDocuments(t.Context(), bson.M{"amount": bson.M{"$gt": 12}, "object.a.＄b": "c"})
	require.NoError(t, err)
	require.EqualValues(t, 1, n, "the shell finds it by its meta info")
}

// TestOriginalsRecords reads a record of the original leptir and replaces it.
func TestOriginalsRecords(t *testing.T) {
	t.Parallel()
	s, c := store(t)
	_, err := c.InsertOne(t.Context(), bson.M{"_id": "t1", "status": 2, "exTime": 0.5, "respM": "", "type": "x", "exStart": time.UnixMilli(1700000000500), "mine": 1})
	require.NoError(t, err)
	rs, err := s.Get(t.Context(), []task.ID{"t1"})
	require.NoError(t, err)
	require.Equal(t, []task.Record{{ID: "t1", Status: task.InProgress, ExTime: 0.5, Type: "x", ExStart: time.UnixMilli(1700000000500).UTC(),
		Meta: map[string]any{"mine": 1.0}}}, rs)
	require.NoError(t, s.Put(t.Context(), []task.Record{{ID: "t1", Status: task.Completed, Type: "x"}}))
	rs, err = s.Get(t.Context(), []task.ID{"t1"})
	require.NoError(t, err)
	require.Equal(t, []task.Record{{ID: "t1", Status: task.Completed, Type: "x"}}, rs)
}

// TestOneBadRecordOfMany looks that old records in a call do not keep new ones from being
// written, wherever they stand in it.
func TestOneBadRecordOfMany(t *testing.T) {
	t.Parallel()
	s, _ := store(t)
	record := func(id task.ID, delivery int) task.Record {
		return task.Record{ID: id, Type: "a", Run: task.Run{Delivery: delivery}}
	}
	require.NoError(t, s.Put(t.Context(), []task.Record{record("old1", 5), record("old2", 5), record("there", 1)}))
	require.NoError(t, s.Put(t.Context(), []task.Record{
		record("new1", 1), record("old1", 4), record("there", 2), record("new2", 1), record("old2", 1), record("new3", 1),
	}))
	rs, err := s.Get(t.Context(), []task.ID{"old1", "old2", "there", "new1", "new2", "new3"})
	require.NoError(t, err)
	got := map[task.ID]int{}
	for _, r := range rs {
		got[r.ID] = r.Run.Delivery
	}
	require.Equal(t, map[task.ID]int{"old1": 5, "old2": 5, "there": 2, "new1": 1, "new2": 1, "new3": 1}, got)
}

func TestExpiryIsWritten(t *testing.T) {
	t.Parallel()
	s, c := store(t, func(s *mongodb.Settings) { s.ExpireAfter = time.Hour })
	before := time.Now().Truncate(time.Millisecond)
	require.NoError(t, s.Put(t.Context(), []task.Record{{ID: "t1", Type: "a"}}))
	var got struct {
		Leptir struct{ Expires time.Time }
	}
	require.NoError(t, c.FindOne(t.Context(), bson.M{"_id": "t1"}).Decode(&got))
	require.WithinRange(t, got.Leptir.Expires, before.Add(time.Hour), time.Now().Add(time.Hour))
}

// TestRefusedIndex opens a store on a server that has no indexes by which documents expire.
func TestRefusedIndex(t *testing.T) {
	t.Parallel()
	if !mongotest.Builtin() {
		t.Skip("a real MongoDB does not refuse it")
	}
	s := mongodb.Defaults()
	s.Connection.URI = settings.Secret(mongotest.URI(t))
	s.Connection.Database = mongotest.Database(t)
	s.ExpireAfter = time.Minute
	var log bytes.Buffer
	st, err := s.Open(t.Context(), metastore.Env{Name: "main", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	defer st.Close()
	require.Contains(t, log.String(), "refuses the index by which records expire; they are kept for ever")
	require.NoError(t, st.Put(t.Context(), []task.Record{{ID: "t1", Type: "a"}}))
}

// TestExpires waits for the server to delete a record, which it looks for once a minute.
func TestExpires(t *testing.T) {
	t.Parallel()
	mongotest.NeedReal(t, "the built-in server has no TTL indexes")
	if testing.Short() {
		t.Skip("takes up to two minutes")
	}
	s, c := store(t, func(s *mongodb.Settings) { s.ExpireAfter = time.Second })
	require.NoError(t, s.Put(t.Context(), []task.Record{{ID: "t1", Type: "a"}}))
	require.Eventually(t, func() bool {
		n, err := c.CountDocuments(t.Context(), bson.M{})
		return err == nil && n == 0
	}, 2*time.Minute, time.Second)
}

func TestServerDown(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	l.Close()
	s := mongodb.Defaults()
	s.Connection.URI = settings.Secret("mongodb://ana:verysecret@" + address)
	s.Connection.Timeout = 300 * time.Millisecond
	_, err = s.Open(context.Background(), metastore.Env{Name: "main", Logger: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, `meta storage "main": connect to MongoDB at `+address+"/leptir: no answer within 300ms")
	require.NotContains(t, err.Error(), "verysecret")
}

func TestValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, mongodb.Defaults().Validate())
	for want, change := range map[string]func(*mongodb.Settings){
		"collection is empty":              func(s *mongodb.Settings) { s.Connection.Collection = "" },
		"expire_after_seconds is negative": func(s *mongodb.Settings) { s.ExpireAfter = -1 },
		"connection: port":                 func(s *mongodb.Settings) { s.Connection.Port = 0 },
	} {
		s := mongodb.Defaults()
		change(s)
		require.ErrorContains(t, s.Validate(), want)
		_, err := s.Open(t.Context(), metastore.Env{Name: "main"})
		require.ErrorContains(t, err, want)
	}
}
