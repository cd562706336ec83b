// Package redis is the broker on a Redis server, on one behind sentinels, or on a Redis
// Cluster. Its queue is the sorted set of the original leptir, so that producers that only
// know that one can go on; payloads, leases and dead letters lie beside it (see
// docs/brokers/redis.md). Everything that changes a task is one Lua script, so it happens
// wholly or not at all, by the server's clock.
package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/redisconn"
)

// DefaultKey is the key of the queue where the settings name no other.
const DefaultKey = "leptir:ztasks"

// Kind is the broker kind "redis".
var Kind = brokers.Kind{
	Name:   "redis",
	Doc:    "A queue on a Redis server, on one behind sentinels, or on a Redis Cluster.",
	New:    func() brokers.Settings { return Defaults() },
	Server: true,
}

// Settings is the configuration of a broker of this kind.
type Settings struct {
	Connection Connection `config:"connection,block" doc:"Where the server and the queue are."`
	// PollInterval is how often an idle host looks by itself for tasks; those that leptir
	// pushes wake it at once.
	PollInterval time.Duration `config:"poll_interval" min:"10ms" max:"1h" doc:"How often an idle host looks for tasks that others than leptir put into the queue. Those that leptir pushes wake it at once."`
}

// Connection says where the server is, and where the queue is on it.
type Connection struct {
	redisconn.Settings
	Key string `config:"key" doc:"The key of the queue, a sorted set. What else the queue needs lies beside it, under keys that begin with the same text in braces."`
}

// Defaults returns the settings of a block that sets nothing: a queue on this machine.
func Defaults() *Settings {
	return &Settings{
		Connection:   Connection{Settings: redisconn.Defaults(), Key: DefaultKey},
		PollInterval: time.Second,
	}
}

// Validate reports settings that cannot work.
func (s *Settings) Validate() error {
	var errs []error
	if err := s.Connection.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("connection: %w", err))
	}
	if _, err := keysOf(s.Connection.Key); err != nil {
		errs = append(errs, fmt.Errorf("connection: %w", err))
	}
	if s.PollInterval <= 0 {
		errs = append(errs, errors.New("poll_interval must be above 0"))
	}
	return errors.Join(errs...)
}

// Open connects to the queue. It implements brokers.Settings.
func (s *Settings) Open(ctx context.Context, env brokers.Env) (brokers.Broker, error) {
	fail := func(err error) (brokers.Broker, error) {
		return nil, fmt.Errorf("broker %q: open: %w", env.Name, err)
	}
	if err := s.Validate(); err != nil {
		return fail(err)
	}
	conn, err := s.Connection.Open(ctx)
	if err != nil {
		return fail(err)
	}
	b, err := open(ctx, conn, s, env)
	if err != nil {
		_ = conn.Close()
		return fail(err)
	}
	return b, nil
}

// keys are the keys of one queue, in the order in which scripts get them.
type keys struct {
	all     []string
	kinds   []string // what each must be
	channel string   // where pushes tell of themselves
}

// keysOf returns the keys of the queue at key. The others get key as their hash tag, if it
// has none itself, and so lie in the same slot of a cluster.
func keysOf(key string) (keys, error) {
	if key == "" {
		return keys{}, errors.New("key must not be empty")
	}
	base := "{" + key + "}"
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if end := strings.IndexByte(key[open:], '}'); end > 1 {
			base = key
		}
	}
	if base != key && strings.Contains(key, "}") {
		return keys{}, fmt.Errorf("key %q: braces must be a pair with text in between, which is then the hash tag", key)
	}
	return keys{
		all: []string{key, base + ":tasks", base + ":state", base + ":leased", base + ":dead",
			base + ":parked", base + ":history", base + ":control"},
		kinds:   []string{"zset", "hash", "hash", "zset", "zset", "zset", "hash", "hash"},
		channel: base + ":wake",
	}, nil
}
