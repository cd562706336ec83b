// Package sqlite is the store of task records in a file: SQLite, without a server. It knows
// the statements on the table info; the file itself, its schema and its writer belong to
// internal/sqlitedb.
package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

// Store keeps records in an SQLite file. It implements metastore.Store and is safe for
// concurrent use.
type Store struct {
	name        string
	db          *sqlitedb.DB
	now         func() time.Time
	expireAfter time.Duration // 0: never
}

var _ metastore.Store = (*Store)(nil)

// Close gives the file back.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return s.wrap("close", err)
	}
	return nil
}

// wrap makes an error tell the store and what it was doing.
func (s *Store) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sqlitedb.ErrClosed) {
		err = metastore.ErrClosed
	}
	return fmt.Errorf("meta storage %q: %s: %w", s.name, doing, err)
}

// index makes the index by which expired records are found, for a store whose records
// expire; the others are spared its price.
func (s *Store) index(ctx context.Context) error {
	if s.expireAfter == 0 {
		return nil
	}
	return s.db.Write(ctx, func(c *sqlitedb.Conn) error {
		_, err := c.Exec(`CREATE INDEX IF NOT EXISTS info_by_time ON info(at)`)
		return err
	})
}

var upsert = sqlitedb.NewInserter(4, "INSERT INTO info(id,delivery,at,record)",
	`ON CONFLICT(id) DO UPDATE SET delivery=excluded.delivery, at=excluded.at, record=excluded.record
	WHERE excluded.delivery>=info.delivery`)

// Put implements metastore.Store.
func (s *Store) Put(ctx context.Context, records []task.Record) error {
	texts := make([]string, len(records))
	for i, r := range records {
		b, err := r.MarshalJSON() // json.Marshal would check and compact the text once more
		if err != nil {
			return s.wrap("put the record of task "+string(r.ID), err)
		}
		texts[i] = string(b)
	}
	if len(records) == 0 {
		_, err := s.Get(ctx, nil)
		return err
	}
	err := s.db.Write(ctx, func(c *sqlitedb.Conn) error {
		now := s.now()
		at := now.UnixMicro()
		_, err := upsert.Insert(c, len(records), func(args []any, i int) []any {
			return append(args, string(records[i].ID), records[i].Run.Delivery, at, texts[i])
		})
		if err == nil && s.expireAfter > 0 {
			err = expire(c, s.cutoff(now), 2*len(records)+8)
		}
		return err
	})
	return s.wrap("put", err)
}

// cutoff is the time of the last records that have expired.
func (s *Store) cutoff(now time.Time) int64 { return now.Add(-s.expireAfter).UnixMicro() }

// expire deletes at most so many expired records. Every put deletes more than it adds, so
// expired ones go as fast as new ones come, a few at a time.
func expire(c *sqlitedb.Conn, cutoff int64, limit int) error {
	_, err := c.Exec(`DELETE FROM info WHERE n IN (SELECT n FROM info INDEXED BY info_by_time WHERE at<=? ORDER BY at LIMIT ?)`, cutoff, limit)
	return err
}

// Get implements metastore.Store.
func (s *Store) Get(ctx context.Context, ids []task.ID) ([]task.Record, error) {
	cutoff := int64(-1 << 63)
	if s.expireAfter > 0 {
		cutoff = s.cutoff(s.now())
	}
	var out []task.Record
	err := s.db.Read(ctx, func(c *sqlitedb.Conn) error {
		seen := make(map[task.ID]bool, len(ids))
		for _, id := range ids {
			if seen[id] {
				continue
			}
			seen[id] = true
			err := c.Query(`SELECT record FROM info WHERE id=? AND at>?`, func(row sqlitedb.Row) (bool, error) {
				var r task.Record
				if err := json.Unmarshal(row.Bytes(0), &r); err != nil {
					return false, fmt.Errorf("the record of task %s cannot be read: %w", id, err)
				}
				out = append(out, r)
				return true, nil
			}, string(id), cutoff)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, s.wrap("get", err)
}
