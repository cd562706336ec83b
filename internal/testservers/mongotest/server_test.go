package mongotest_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/backplane/leptir/internal/testservers/mongotest"
)

func TestMain(m *testing.M) { mongotest.Main(m) }

// TestAtomic shows what FerretDB alone does not give, and tests of queues rely on: a command
// on a document happens whole.
func TestAtomic(t *testing.T) {
	c := mongotest.Client(t).Database(mongotest.Database(t)).Collection("c")
	const n = 60
	for range n {
		_, err := c.InsertOne(t.Context(), bson.M{"free": true})
		require.NoError(t, err)
	}
	_, err := c.InsertOne(t.Context(), bson.M{"_id": "sum", "n": 0})
	require.NoError(t, err)
	var (
		mu      sync.Mutex
		claimed = map[any]int{}
		wg      sync.WaitGroup
	)
	for range 8 {
		wg.Go(func() {
			for {
				var got struct {
					ID any `bson:"_id"`
				}
				err := c.FindOneAndUpdate(t.Context(), bson.M{"free": true}, bson.M{"$set": bson.M{"free": false}}).Decode(&got)
				if err == mongo.ErrNoDocuments {
					return
				}
				if err != nil {
					t.Errorf("claim: %v", err)
					return
				}
				mu.Lock()
				claimed[got.ID]++
				mu.Unlock()
				if _, err := c.UpdateOne(t.Context(), bson.M{"_id": "sum"}, bson.M{"$inc": bson.M{"n": 1}}); err != nil {
					t.Errorf("add: %v", err)
				}
			}
		})
	}
	wg.Wait()
	require.Len(t, claimed, n)
	for id, times := range claimed {
		require.Equal(t, 1, times, "%v", id)
	}
	var sum struct{ N int }
	require.NoError(t, c.FindOne(t.Context(), bson.M{"_id": "sum"}).Decode(&sum))
	require.Equal(t, n, sum.N)
}

// TestUnacknowledgedWrites shows that a write which asks for no reply gets none: FerretDB's
// would be read as the reply to the command after it.
func TestUnacknowledgedWrites(t *testing.T) {
	db := mongotest.Client(t).Database(mongotest.Database(t))
	silent := db.Collection("c", options.Collection().SetWriteConcern(writeconcern.Unacknowledged()))
	for i := range 20 {
		_, err := silent.InsertOne(t.Context(), bson.M{"_id": i})
		require.NoError(t, err)
		var got struct {
			ID int `bson:"_id"`
		}
		_, err = db.Collection("c").InsertOne(t.Context(), bson.M{"_id": 1000 + i})
		require.NoError(t, err)
		require.NoError(t, db.Collection("c").FindOne(t.Context(), bson.M{"_id": 1000 + i}).Decode(&got))
		require.Equal(t, 1000+i, got.ID)
	}
}
