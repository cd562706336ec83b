package mongodb

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/backplane/leptir/task"
)

// Foreign documents are those that other producers than this package have put into the
// collection: what has none of leptir's states. They are of three forms:
//
//	{_id: …, task: "{\"v\":1, …}"}                     today's envelope as text
//	{_id: …, v: 1, type: …, params: {…}, …}            the same as fields; without id, _id is it
//	{_id: …, cn: …, pr: …, tl: …, toex: …, td: {…}}    as the original leptir wrote them
//
// Anything else is an unreadable message and goes the same way. Before they are leased they
// are adopted: replaced, each by one atomic write, by a document of leptir's own form with
// the same _id. (Only what is too large for a message keeps its fields.)

const (
	// maxAdopt is how many foreign documents are adopted at once, and maxAdoptBytes what they
	// may weigh together before the rest waits for the next time.
	maxAdopt      = 100
	maxAdoptBytes = 16 << 20
	// adoptEvery is how often a busy host looks for them. An idle one does whenever it waits.
	adoptEvery = 500 * time.Millisecond
)

// adoptionDue reports whether a Lease should look for foreign documents.
func (b *Broker) adoptionDue() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.looked) < adoptEvery {
		return false
	}
	b.looked = time.Now()
	return true
}

// isForeign is what foreign documents have in common.
var isForeign = bson.E{Key: fState, Value: bson.D{{Key: "$nin", Value: bson.A{waiting, leased, dead}}}}

// adopt adopts foreign documents, and returns how many. One that cannot be adopted is left
// where it is, and does not keep others from being served.
func (b *Broker) adopt(ctx context.Context) (int, error) {
	cursor, err := b.tasks.Find(ctx, bson.D{isForeign}, options.Find().SetLimit(maxAdopt))
	if err != nil {
		return 0, err
	}
	defer cursor.Close(ctx)
	var models []mongo.WriteModel
	for size := 0; size < maxAdoptBytes && cursor.Next(ctx); size += len(cursor.Current) {
		now, err := b.now(ctx)
		if err != nil {
			return 0, err
		}
		models = append(models, b.adoption(slices.Clone(cursor.Current), now))
	}
	if err := cursor.Err(); err != nil || len(models) == 0 {
		return 0, err
	}
	res, err := b.tasks.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	if refused, ok := errors.AsType[mongo.BulkWriteException](err); ok && refused.WriteConcernError == nil {
		b.log.Warn("documents in the queue that are no tasks of leptir's cannot be adopted; remove them, or mend them",
			"collection", b.tasks.Name(), "documents", len(refused.WriteErrors), "err", err)
		err = nil
	}
	if err != nil {
		return 0, err
	}
	return int(res.MatchedCount), nil
}

// adoption returns the write that makes a foreign document leptir's own.
func (b *Broker) adoption(r bson.Raw, now time.Time) mongo.WriteModel {
	key := r.Lookup(fID)
	filter := bson.D{{Key: fID, Value: key}, isForeign}
	msg := r.Lookup(fTask)
	if message(msg) == nil {
		msg = textValue(foreignText(r))
	}
	t, err := task.DecodeAny(message(msg), b.aliases)
	if err != nil {
		t = task.Task{}
	}
	own, isText := key.StringValueOK()
	if t.ID == "" {
		t.ID = task.ID(own)
		if !isText || t.ID.Validate() != nil {
			t.ID = task.NewID()
		}
	}
	d := bson.D{{Key: fState, Value: waiting}, {Key: fDue, Value: dueDate(&t, now)}}
	if !isText || own != string(t.ID) {
		d = append(d, bson.E{Key: fTaskID, Value: string(t.ID)})
	}
	if len(msg.Value) > task.MaxEnvelopeBytes { // unreadable, and as a text perhaps too large to be kept
		return mongo.NewUpdateOneModel().SetFilter(filter).SetUpdate(bson.D{{Key: "$set", Value: d}})
	}
	if t.Type != "" {
		d = append(d, bson.E{Key: fType, Value: t.Type})
	}
	d = append(bson.D{{Key: fID, Value: key}, {Key: fTask, Value: msg}}, d...)
	return mongo.NewReplaceOneModel().SetFilter(filter).SetReplacement(d)
}

// foreignText returns a document of fields as JSON: the message of an adopted document.
func foreignText(r bson.Raw) string {
	var d bson.D
	if err := bson.Unmarshal(r, &d); err != nil {
		return r.String()
	}
	var id any
	named := false // it says its id, or is the original's, which has it elsewhere
	for i, e := range d {
		switch e.Key {
		case fID:
			id = e.Value
		case "id", "cn":
			named = true
		case "toex":
			if at, ok := e.Value.(bson.DateTime); ok { // the original's is in seconds
				d[i].Value = float64(at) / 1000
			}
		}
	}
	if oid, ok := id.(bson.ObjectID); ok {
		id = oid.Hex()
	}
	if s, ok := id.(string); ok && !named {
		d = append(d, bson.E{Key: "id", Value: s})
	}
	text, err := bson.MarshalExtJSON(d, false, false)
	if err != nil {
		return r.String()
	}
	return string(text)
}

// textValue returns a text as a BSON value.
func textValue(s string) bson.RawValue {
	_, b, _ := bson.MarshalValue(s) // which fails for no string
	return bson.RawValue{Type: bson.TypeString, Value: b}
}
