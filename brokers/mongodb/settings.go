// Package mongodb is the broker on a MongoDB collection: one document a task, claimed in
// batches by an owner's token. It owns the form of the documents (docs/brokers/mongodb.md
// describes them for people) and knows nothing of what runs a task.
package mongodb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/mongoconn"
)

// Kind is the broker kind "mongodb".
var Kind = brokers.Kind{
	Name:   "mongodb",
	Doc:    "A queue in a collection of a MongoDB database, shared by any number of hosts.",
	New:    func() brokers.Settings { return Defaults() },
	Server: true,
}

// Settings are the settings of one MongoDB broker.
type Settings struct {
	Connection Connection `config:"connection,block" doc:"The server and the collection."`
	// PollInterval is how often an idle host looks for tasks where the server cannot tell
	// of them by itself.
	PollInterval time.Duration `config:"poll_interval" min:"0.05" doc:"How often an idle host looks for new tasks on a server without change streams (one that is no replica set). With change streams new tasks are known at once."`
}

// Connection is the server, and the collection that the tasks are in.
type Connection struct {
	mongoconn.Settings
	Collection string `config:"collection" doc:"Collection that holds the tasks."`
}

// Defaults returns the settings of a queue on this machine.
func Defaults() *Settings {
	return &Settings{
		Connection:   Connection{Settings: mongoconn.Defaults(), Collection: "tasks"},
		PollInterval: 500 * time.Millisecond,
	}
}

// Validate reports the first reason why the settings cannot be used.
func (s *Settings) Validate() error {
	if s.Connection.Collection == "" {
		return errors.New("connection: collection is empty")
	}
	if s.PollInterval <= 0 {
		return fmt.Errorf("poll_interval is %v; it must be above 0", s.PollInterval)
	}
	if err := s.Connection.Validate(); err != nil {
		return fmt.Errorf("connection: %w", err)
	}
	return nil
}

// Open connects to the queue and makes the indexes that it needs.
func (s *Settings) Open(ctx context.Context, env brokers.Env) (brokers.Broker, error) {
	who := fmt.Sprintf("broker %q", env.Name)
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", who, err)
	}
	conn, err := mongoconn.Open(ctx, &s.Connection.Settings, who, brokers.ErrClosed)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		conn:    conn,
		tasks:   conn.DB.Collection(s.Connection.Collection),
		reports: conn.Reports.Collection(s.Connection.Collection),
		control: conn.DB.Collection(s.Connection.Collection + ".control"),
		log:     env.Logger,
		aliases: env.Aliases,
		local:   env.Clock(),
		poll:    s.PollInterval,
		wake:    make(chan struct{}),
		leasing: make(chan struct{}, 1),
	}
	if err := b.prepare(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return b, nil
}
