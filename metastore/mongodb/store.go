package mongodb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/backplane/leptir/internal/mongoconn"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

// Store keeps records in a collection. It implements metastore.Store and is safe for
// concurrent use.
type Store struct {
	conn    *mongoconn.Conn
	records *mongo.Collection
	keep    time.Duration // 0: for ever
}

var _ metastore.Store = (*Store)(nil)

// Close disconnects; the records stay.
func (s *Store) Close() error { return s.conn.Close() }

// Put implements metastore.Store. Each record is an upsert that asks for a document with a
// delivery that is not higher. Where there is one with a higher, nothing matches, and the
// insertion that follows fails because the _id is taken: the record is an old one, and is
// dropped. The same happens to one of two hosts that write the first record of a task at the
// same moment; so what has failed like that is tried once more.
func (s *Store) Put(ctx context.Context, records []task.Record) error {
	what := fmt.Sprintf("put %d records", len(records))
	if len(records) == 1 {
		what = fmt.Sprintf("put the record of task %s", records[0].ID)
	}
	return s.conn.Do(ctx, what, func(ctx context.Context) error {
		models, err := s.models(newest(records))
		if err != nil || len(models) == 0 {
			return err
		}
		failed, all, err := s.write(ctx, models)
		if err != nil || len(failed) == 0 {
			return err
		}
		if all {
			_, _, err = s.write(ctx, failed)
			return err
		}
		for _, m := range models { // FerretDB does not say which one has failed, and does none of the rest
			for range 2 {
				if failed, _, err = s.write(ctx, []mongo.WriteModel{m}); err != nil {
					return err
				} else if len(failed) == 0 {
					break
				}
			}
		}
		return nil
	})
}

// write carries out the upserts, in one round trip. It returns those that failed because the
// _id is taken, and whether all others were done.
func (s *Store) write(ctx context.Context, models []mongo.WriteModel) (failed []mongo.WriteModel, all bool, err error) {
	res, err := s.records.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	refused, ok := errors.AsType[mongo.BulkWriteException](err)
	if !ok || refused.WriteConcernError != nil {
		return nil, true, err
	}
	for _, w := range refused.WriteErrors {
		if !mongo.IsDuplicateKeyError(w) {
			return nil, true, err
		}
		failed = append(failed, w.Request)
	}
	done := int(res.MatchedCount + res.UpsertedCount)
	return failed, done+len(failed) == len(models), nil
}

// newest returns one record for each id: of several the one with the highest delivery, of
// equal ones the last.
func newest(records []task.Record) []*task.Record {
	place := make(map[task.ID]int, len(records))
	out := make([]*task.Record, 0, len(records))
	for i := range records {
		r := &records[i]
		at, there := place[r.ID]
		switch {
		case !there:
			place[r.ID] = len(out)
			out = append(out, r)
		case r.Run.Delivery >= out[at].Run.Delivery:
			out[at] = r
		}
	}
	return out
}

func (s *Store) models(records []*task.Record) ([]mongo.WriteModel, error) {
	var expires time.Time
	if s.keep > 0 {
		expires = time.Now().Add(s.keep)
	}
	models := make([]mongo.WriteModel, len(records))
	for i, r := range records {
		d, err := newDocument(r, expires)
		if err != nil {
			return nil, fmt.Errorf("record of task %s: %w", r.ID, err)
		}
		models[i] = mongo.NewReplaceOneModel().
			SetFilter(bson.D{{Key: fID, Value: string(r.ID)},
				{Key: fDelivery, Value: bson.D{{Key: "$not", Value: bson.D{{Key: "$gt", Value: r.Run.Delivery}}}}}}).
			SetReplacement(d).SetUpsert(true)
	}
	return models, nil
}

// Get implements metastore.Store.
func (s *Store) Get(ctx context.Context, ids []task.ID) ([]task.Record, error) {
	var records []task.Record
	err := s.conn.Do(ctx, fmt.Sprintf("get %d records", len(ids)), func(ctx context.Context) error {
		if len(ids) == 0 {
			return nil
		}
		cursor, err := s.records.Find(ctx, bson.D{{Key: fID, Value: bson.D{{Key: "$in", Value: ids}}}})
		if err != nil {
			return err
		}
		var raws []bson.Raw
		if err := cursor.All(ctx, &raws); err != nil {
			return err
		}
		records = make([]task.Record, 0, len(raws))
		for _, raw := range raws {
			r, err := readDocument(raw)
			if err != nil {
				return fmt.Errorf("record %s: %w", raw.Lookup(fID), err)
			}
			records = append(records, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}
