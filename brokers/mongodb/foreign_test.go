package mongodb_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/testservers/mongotest"
	"github.com/backplane/leptir/task"
)

// queue returns a handle on a new queue, and the collection behind it.
func queue(t *testing.T) (brokers.Broker, *mongo.Collection) {
	database := mongotest.Database(t)
	b := open(t, database)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b, mongotest.Client(t).Database(database).Collection("tasks")
}

// TestForeignDocuments puts documents into the collection as other producers do, and looks
// what a host gets.
func TestForeignDocuments(t *testing.T) {
	t.Parallel()
	oid := bson.NewObjectID()
	original := func(id any, change ...bson.E) bson.D {
		return append(bson.D{
			{Key: "_id", Value: "56f1a2b3.0.48213"}, {Key: "cn", Value: `Leptir\Task\Test\TestTask`}, {Key: "pr", Value: int32(5)},
			{Key: "tl", Value: int32(60)}, {Key: "toex", Value: ""},
			{Key: "td", Value: bson.D{{Key: "id", Value: id}, {Key: "parameters", Value: bson.D{{Key: "n", Value: int64(7)}, {Key: "x", Value: 0.5}}}}},
		}, change...)
	}
	for name, c := range map[string]struct {
		doc  bson.D
		want task.Task
	}{
		"the original's": {
			original("a1"),
			task.Task{ID: "a1", Type: "demo.test", Params: []byte(`{"n":7,"x":0.5}`), Priority: 5, TimeLimit: time.Minute},
		},
		"the original's, id and _id alike": {
			original("56f1a2b3.0.48213"),
			task.Task{ID: "56f1a2b3.0.48213", Type: "demo.test", Params: []byte(`{"n":7,"x":0.5}`), Priority: 5, TimeLimit: time.Minute},
		},
		"the original's, with empty parameters and a time as a date": {
			bson.D{{Key: "_id", Value: oid}, {Key: "cn", Value: `Mail\Send`}, {Key: "toex", Value: time.Unix(1700000000, 5e8)},
				{Key: "td", Value: bson.D{{Key: "id", Value: "a2"}, {Key: "parameters", Value: bson.A{}}}}},
			task.Task{ID: "a2", Type: "mail.send", At: time.Unix(1700000000, 5e8).UTC()},
		},
		"today's as text": {
			bson.D{{Key: "_id", Value: oid}, {Key: "task", Value: `{"v":1,"id":"b1","type":"t","params":{"big":9007199254740993}}`}},
			task.Task{ID: "b1", Type: "t", Params: []byte(`{"big":9007199254740993}`)},
		},
		"today's as fields, its id in _id": {
			bson.D{{Key: "_id", Value: "c1"}, {Key: "v", Value: 1}, {Key: "type", Value: "t"}, {Key: "params", Value: bson.D{{Key: "a", Value: "b"}}},
				{Key: "state", Value: "new"}},
			task.Task{ID: "c1", Type: "t", Params: []byte(`{"a":"b"}`)},
		},
		"today's as fields, with an ObjectID": {
			bson.D{{Key: "_id", Value: oid}, {Key: "v", Value: 1}, {Key: "type", Value: "t"}},
			task.Task{ID: task.ID(oid.Hex()), Type: "t"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, c1 := queue(t)
			_, err := c1.InsertOne(t.Context(), c.doc)
			require.NoError(t, err)
			st, err := b.Stats(t.Context())
			require.NoError(t, err)
			require.Equal(t, brokers.Stats{Ready: 1}, st)
			ds, err := b.Lease(t.Context(), 10, time.Minute)
			require.NoError(t, err)
			require.Len(t, ds, 1)
			require.NoError(t, ds[0].Unreadable)
			require.Equal(t, c.want, ds[0].Task)
			require.Equal(t, 1, ds[0].Attempt)

			// It goes the way of any other task, by its task's id.
			i := b.(brokers.Inspector)
			id := c.want.ID
			lost, err := b.Extend(t.Context(), time.Minute, ds)
			require.NoError(t, err)
			require.Empty(t, lost)
			it, err := i.Find(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, brokers.StateLeased, it.State)
			settle(t, b, brokers.Bury, ds[0])
			missing, err := i.Requeue(t.Context(), []task.ID{id})
			require.NoError(t, err)
			require.Empty(t, missing)
			ds, err = b.Lease(t.Context(), 10, time.Minute)
			require.NoError(t, err)
			require.Equal(t, c.want, ds[0].Task)
			require.Equal(t, 2, ds[0].Sequence)
			settle(t, b, brokers.Release, ds[0])
			ds, err = b.Lease(t.Context(), 10, time.Minute)
			require.NoError(t, err)
			settle(t, b, brokers.Done, ds[0])
			n, err := c1.CountDocuments(t.Context(), bson.D{})
			require.NoError(t, err)
			require.Zero(t, n)
		})
	}
}

func settle(t *testing.T, b brokers.Broker, v brokers.Verdict, d brokers.Delivery) {
	t.Helper()
	lost, err := b.Settle(t.Context(), []brokers.Settlement{{ID: d.Task.ID, Token: d.Token, Verdict: v, Reason: "a test"}})
	require.NoError(t, err)
	require.Empty(t, lost)
}

func TestForeignDocumentsWaitForTheirTime(t *testing.T) {
	t.Parallel()
	b, c := queue(t)
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	_, err := c.InsertOne(t.Context(), bson.M{"_id": "5e.1", "cn": "A", "toex": at.Unix(), "td": bson.M{"id": "later", "parameters": bson.M{}}})
	require.NoError(t, err)
	ds, err := b.Lease(t.Context(), 10, time.Minute)
	require.NoError(t, err)
	require.Empty(t, ds)
	it, err := b.(brokers.Inspector).Find(t.Context(), "later")
	require.NoError(t, err)
	require.Equal(t, brokers.StateScheduled, it.State)
	require.True(t, at.Equal(it.Due))
	missing, err := b.(brokers.Inspector).Delete(t.Context(), []task.ID{"later"})
	require.NoError(t, err)
	require.Empty(t, missing)
}

func TestUnreadableDocuments(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		doc    bson.D
		raw    string // what the operator sees
		reason string
	}{
		"no task at all": {bson.D{{Key: "_id", Value: "x"}, {Key: "hello", Value: "world"}, {Key: "n", Value: int64(1)}}, `{"_id":"x","hello":"world","n":1,"id":"x"}`, "version 0"},
		"a broken class": {bson.D{{Key: "_id", Value: "x"}, {Key: "cn", Value: 5}}, `{"_id":"x","cn":5}`, "original"},
		"an empty text":  {bson.D{{Key: "_id", Value: "x"}, {Key: "task", Value: ""}}, ``, "unexpected end"},
		"no text":        {bson.D{{Key: "_id", Value: "x"}, {Key: "task", Value: 5}}, `{"_id":"x","task":5,"id":"x"}`, "version 0"},
		"types of its own": {bson.D{{Key: "_id", Value: bson.NewDateTimeFromTime(time.UnixMilli(0))}, {Key: "b", Value: bson.Binary{Data: []byte{1}}}},
			`{"_id":{"$date":"1970-01-01T00:00:00Z"},"b":{"$binary":{"base64":"AQ==","subType":"00"}}}`, "version 0"},
		"too large": {bson.D{{Key: "_id", Value: "x"}, {Key: "v", Value: 1}, {Key: "type", Value: "t"}, {Key: "pad", Value: strings.Repeat("x", 2<<20)}}, "", "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, coll := queue(t)
			_, err := coll.InsertOne(t.Context(), c.doc)
			require.NoError(t, err)
			good := newTasks(1)
			require.NoError(t, b.Push(t.Context(), good))
			ds, err := b.Lease(t.Context(), 10, time.Minute)
			require.NoError(t, err)
			require.Len(t, ds, 2, "the good one is served beside it")
			require.NoError(t, ds[0].Unreadable)
			d := ds[1]
			require.ErrorContains(t, d.Unreadable, c.reason)
			if name == "too large" {
				require.Contains(t, string(d.Raw), strings.Repeat("x", 2<<20))
			} else {
				require.Equal(t, c.raw, string(d.Raw))
			}
			require.NoError(t, d.Task.ID.Validate())
			settle(t, b, brokers.Bury, d)
			items, _, err := b.(brokers.Inspector).List(t.Context(), brokers.StateDead, "", 10)
			require.NoError(t, err)
			require.Len(t, items, 1)
			require.Equal(t, d.Task.ID, items[0].ID)
		})
	}
}
