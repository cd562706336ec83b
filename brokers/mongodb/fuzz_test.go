package mongodb

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// FuzzForeign adopts any bytes as a foreign document, and reads them as one of leptir's own:
// nothing in the collection may stop a host, and all gets an id by which it can be handled.
func FuzzForeign(f *testing.F) {
	for _, d := range []any{
		bson.M{}, bson.M{"_id": "x", "task": `{"v":1,"id":"x","type":"a"}`}, bson.M{"_id": 1, "v": 1, "type": "a", "params": bson.A{}},
		bson.M{"_id": bson.NewObjectID(), "cn": `A\B`, "toex": time.Now(), "td": bson.M{"id": "y"}},
		bson.M{"_id": "x", "state": "leased", "due": 5, "token": 7, "history": bson.A{1, bson.M{"time": "no"}}},
	} {
		b, err := bson.Marshal(d)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte{5, 0, 0, 0, 0})
	f.Add([]byte("\xff\xff\xff\x7f\x02_id\x00"))
	b := &Broker{aliases: map[string]string{`A\B`: "a.b"}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		now := time.Now()
		d := readDocument(raw)
		_ = b.item(d, now)
		_ = b.delivery(d, now)
		if bson.Raw(raw).Validate() != nil || bson.Raw(raw).Lookup("_id").Type == 0 {
			return // the server keeps no such thing
		}
		if m, ok := b.adoption(raw, now).(*mongo.ReplaceOneModel); ok {
			own, err := bson.Marshal(m.Replacement)
			require.NoError(t, err)
			d := readDocument(own)
			require.Equal(t, waiting, d.state)
			require.NoError(t, d.id.Validate())
			raw1, task1, err1 := b.decode(d)
			require.Equal(t, d.id, task1.ID)
			if err1 == nil {
				require.NoError(t, task1.Validate())
			}
			require.NotNil(t, raw1)
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("ABC234", "1700000000000.3")
	f.Add("ABC+", "-1.0")
	f.Add("+", ".")
	f.Add("'; drop", "9999999999999999999.9999999999999999999")
	f.Fuzz(func(t *testing.T, token, cursor string) {
		if l, ok := parseLease(token); ok {
			require.Equal(t, token, l.String())
		}
		if _, skip, err := parseCursor(cursor); err == nil {
			require.GreaterOrEqual(t, skip, 0)
		}
	})
}
