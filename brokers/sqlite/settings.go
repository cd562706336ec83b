package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/sqlitedb"
)

// Kind is the kind "sqlite" as a host's configuration knows it.
var Kind = brokers.Kind{
	Name: "sqlite",
	Doc:  "A queue in a file of this machine; needs no server.",
	New:  func() brokers.Settings { return Defaults() },
}

// Settings is the configuration of a broker of this kind.
type Settings struct {
	Path        settings.Path `config:"path" doc:"The database file; it is made if it is not there. Several brokers are several files; hosts of one machine, and meta storages, can share one."`
	Synchronous string        `config:"synchronous" doc:"\"normal\": nothing is lost when a process dies; \"full\": nor when the power fails, at the price of a disk sync a commit."`
	BusyTimeout time.Duration `config:"busy_timeout" doc:"How long a write waits while another process writes."`
}

// Defaults returns the settings of a block that sets nothing.
func Defaults() *Settings {
	return &Settings{Path: "var/leptir.db", Synchronous: sqlitedb.Normal, BusyTimeout: 5 * time.Second}
}

// Writes implements settings.FileWriter.
func (s *Settings) Writes() []settings.Path { return []settings.Path{s.Path} }

// Place implements brokers.Placer.
func (s *Settings) Place() string { return filepath.Clean(string(s.Path)) }

// Validate reports what cannot be as it is.
func (s *Settings) Validate() error {
	switch {
	case s.Path == "":
		return fmt.Errorf("path is empty")
	case s.Synchronous != sqlitedb.Normal && s.Synchronous != sqlitedb.Full:
		return fmt.Errorf("synchronous is %q; it can be %q or %q", s.Synchronous, sqlitedb.Normal, sqlitedb.Full)
	case s.BusyTimeout <= 0:
		return fmt.Errorf("busy_timeout must be more than 0")
	}
	return nil
}

// Open opens the queue; it makes the file and its folders where they are missing.
func (s *Settings) Open(ctx context.Context, env brokers.Env) (brokers.Broker, error) {
	db, err := sqlitedb.Open(ctx, sqlitedb.Options{
		Path: string(s.Path), Synchronous: s.Synchronous, BusyTimeout: s.BusyTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("broker %q: %w", env.Name, err)
	}
	b := &Broker{name: env.Name, db: db, now: env.Clock(), maxAnswer: maxAnswer}
	b.stats.long = longQueue
	return b, nil
}
