package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/metastore"
)

// Kind is the kind "sqlite" as a host's configuration knows it.
var Kind = metastore.Kind{
	Name: "sqlite",
	Doc:  "Records in a file of this machine; needs no server.",
	New:  func() metastore.Settings { return Defaults() },
}

// Settings is the configuration of a store of this kind.
type Settings struct {
	Path        settings.Path `config:"path" doc:"The database file; it is made if it is not there. It can be that of a broker."`
	Synchronous string        `config:"synchronous" doc:"\"normal\": nothing is lost when a process dies; \"full\": nor when the power fails, at the price of a disk sync a commit."`
	BusyTimeout time.Duration `config:"busy_timeout" doc:"How long a write waits while another process writes."`
	ExpireAfter time.Duration `config:"expire_after" doc:"How long a record is kept after it was last written; 0 keeps it for ever."`

	now func() time.Time // the clock; nil is time.Now
}

// Defaults returns the settings of a block that sets nothing.
func Defaults() *Settings {
	return &Settings{Path: "var/leptir.db", Synchronous: sqlitedb.Normal, BusyTimeout: 5 * time.Second}
}

// Writes implements settings.FileWriter.
func (s *Settings) Writes() []settings.Path { return []settings.Path{s.Path} }

// Validate reports what cannot be as it is.
func (s *Settings) Validate() error {
	switch {
	case s.Path == "":
		return fmt.Errorf("path is empty")
	case s.Synchronous != sqlitedb.Normal && s.Synchronous != sqlitedb.Full:
		return fmt.Errorf("synchronous is %q; it can be %q or %q", s.Synchronous, sqlitedb.Normal, sqlitedb.Full)
	case s.BusyTimeout <= 0:
		return fmt.Errorf("busy_timeout must be more than 0")
	case s.ExpireAfter < 0:
		return fmt.Errorf("expire_after is negative (%v); 0 keeps records for ever", s.ExpireAfter)
	}
	return nil
}

// Open opens the store; it makes the file and its folders where they are missing.
func (s *Settings) Open(ctx context.Context, env metastore.Env) (metastore.Store, error) {
	db, err := sqlitedb.Open(ctx, sqlitedb.Options{
		Path: string(s.Path), Synchronous: s.Synchronous, BusyTimeout: s.BusyTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("meta storage %q: %w", env.Name, err)
	}
	st := &Store{name: env.Name, db: db, now: s.now, expireAfter: s.ExpireAfter}
	if st.now == nil {
		st.now = time.Now
	}
	if err := st.index(ctx); err != nil {
		_ = db.Close()
		return nil, st.wrap("open", err)
	}
	return st, nil
}
