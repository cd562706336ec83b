// Package redis is the store of task records on a Redis server, on one behind sentinels, or on
// a Redis Cluster: one string key for each task, holding its record as JSON, as the original
// leptir wrote it (see docs/metadata/redis.md). It knows nothing of how the server is reached,
// which is internal/redisconn's.
package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/backplane/leptir/internal/redisconn"
	"github.com/backplane/leptir/metastore"
)

// Kind is the kind "redis" as a host's configuration knows it.
var Kind = metastore.Kind{
	Name:   "redis",
	Doc:    "Records on a Redis server, on one behind sentinels, or on a Redis Cluster.",
	New:    func() metastore.Settings { return Defaults() },
	Server: true,
}

// Settings is the configuration of a store of this kind.
type Settings struct {
	Connection redisconn.Settings `config:"connection,block" doc:"Where the server is."`
	KeyPrefix  string             `config:"key_prefix" doc:"What the key of a record begins with; the task's id follows."`
	// ExpireAfter counts in whole seconds; a begun one is rounded up.
	ExpireAfter time.Duration `config:"expire_after_seconds" doc:"How long a record is kept after it was last written; 0 keeps it for ever."`
}

// Defaults returns the settings of a block that sets nothing: a server on this machine, and
// records that are kept for a day.
func Defaults() *Settings {
	return &Settings{Connection: redisconn.Defaults(), KeyPrefix: "leptir:taskinfo:", ExpireAfter: 86400 * time.Second}
}

// Validate reports settings that cannot work.
func (s *Settings) Validate() error {
	var errs []error
	if err := s.Connection.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("connection: %w", err))
	}
	if s.KeyPrefix == "" {
		errs = append(errs, errors.New("key_prefix must not be empty: records need keys of their own"))
	}
	if s.ExpireAfter < 0 {
		errs = append(errs, fmt.Errorf("expire_after_seconds is negative (%v); 0 keeps records for ever", s.ExpireAfter))
	}
	return errors.Join(errs...)
}

// Open connects to the store. It implements metastore.Settings.
func (s *Settings) Open(ctx context.Context, env metastore.Env) (metastore.Store, error) {
	fail := func(err error) (metastore.Store, error) {
		return nil, fmt.Errorf("meta storage %q: open: %w", env.Name, err)
	}
	if err := s.Validate(); err != nil {
		return fail(err)
	}
	conn, err := s.Connection.Open(ctx)
	if err != nil {
		return fail(err)
	}
	group := maxGroup
	if conn.Cluster {
		group = 1 // the keys of a script, or of one MGET, must lie in one slot
	}
	lifetime := (s.ExpireAfter + time.Second - 1) / time.Second
	return &Store{conn: conn, name: env.Name, prefix: s.KeyPrefix, lifetime: int64(lifetime), group: group}, nil
}
