// Package mongodb is the store of task records in a MongoDB collection: one document a
// record, with the fields of the original leptir, the start of the execution as a date. It
// knows nothing of brokers, and of a record's fields only which are dates.
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
)

// Kind is the store kind "mongodb".
var Kind = metastore.Kind{
	Name:   "mongodb",
	Doc:    "Records in a collection of a MongoDB database.",
	New:    func() metastore.Settings { return Defaults() },
	Server: true,
}

// Settings are the settings of one MongoDB store.
type Settings struct {
	Connection  Connection    `config:"connection,block" doc:"The server and the collection."`
	ExpireAfter time.Duration `config:"expire_after_seconds" doc:"How long a record is kept after it was last written; 0 keeps it for ever."`
}

// Connection is the server, and the collection that the records are in.
type Connection struct {
	mongoconn.Settings
	Collection string `config:"collection" doc:"Collection that holds the records."`
}

// Defaults returns the settings of a store on this machine that keeps records for ever.
func Defaults() *Settings {
	return &Settings{Connection: Connection{Settings: mongoconn.Defaults(), Collection: "info"}}
}

// Validate reports the first reason why the settings cannot be used.
func (s *Settings) Validate() error {
	if s.Connection.Collection == "" {
		return errors.New("connection: collection is empty")
	}
	if s.ExpireAfter < 0 {
		return fmt.Errorf("expire_after_seconds is negative (%v); 0 keeps records for ever", s.ExpireAfter)
	}
	if err := s.Connection.Validate(); err != nil {
		return fmt.Errorf("connection: %w", err)
	}
	return nil
}

// Open connects to the store. It implements metastore.Settings.
func (s *Settings) Open(ctx context.Context, env metastore.Env) (metastore.Store, error) {
	who := fmt.Sprintf("meta storage %q", env.Name)
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", who, err)
	}
	conn, err := mongoconn.Open(ctx, &s.Connection.Settings, who, metastore.ErrClosed)
	if err != nil {
		return nil, err
	}
	st := &Store{conn: conn, records: conn.DB.Collection(s.Connection.Collection), keep: s.ExpireAfter}
	if s.ExpireAfter > 0 {
		err := st.conn.DoWithin(ctx, indexLimit, "make the index by which records expire", func(ctx context.Context) error {
			_, err := st.records.Indexes().CreateOne(ctx, mongo.IndexModel{
				Keys: bson.D{{Key: fExpires, Value: 1}}, Options: options.Index().SetExpireAfterSeconds(0),
			})
			if mongoconn.Refused(err) {
				env.Logger.Warn("the MongoDB server refuses the index by which records expire; they are kept for ever",
					"collection", s.Connection.Collection, "err", err)
				return nil
			}
			return err
		})
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return st, nil
}

// indexLimit bounds the making of an index, which takes its time where many documents are
// there already.
const indexLimit = 10 * time.Minute
