// Package rig sets up what a measurement needs and takes it down again: programs built from
// this tree, servers, hosts with their plugins' processes. Everything listens on loopback or
// on sockets in a folder of its own. It knows nothing of what is measured.
package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/backplane/leptir/internal/testservers/mongotest"
	"github.com/backplane/leptir/internal/testservers/redisserver"
)

// Databases of the one Redis server that all share.
const (
	LeptirDB  = 0 // leptir's queues
	RecordsDB = 1 // leptir's records
	AsynqDB   = 2
	CeleryDB  = 3 // Celery's queue; its results lie in the next
	BullDB    = 5
)

// Rig is the surroundings of a measurement. It is not safe for concurrent use.
type Rig struct {
	Programs
	Dir string // its folder, removed by Close

	server  *redisserver.Server
	mongo   string
	mongoUp func() error // ends it
	hosts   int
}

// New builds the programs and starts the Redis server.
func New(ctx context.Context) (r *Rig, err error) {
	r = &Rig{}
	if r.Dir, err = os.MkdirTemp("", "leptir-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = r.Close()
			r = nil
		}
	}()
	for _, sub := range []string{"bin", "redis"} {
		if err = os.Mkdir(filepath.Join(r.Dir, sub), 0o700); err != nil {
			return r, err
		}
	}
	if r.Programs, err = buildPrograms(ctx, filepath.Join(r.Dir, "bin")); err != nil {
		return r, err
	}
	r.server, err = redisserver.Launch(filepath.Join(r.Dir, "redis"))
	return r, err
}

// Close ends the servers and removes what they kept.
func (r *Rig) Close() error {
	var err error
	if r.mongoUp != nil {
		err = r.mongoUp()
	}
	if r.server != nil {
		r.server.Kill()
	}
	return errors.Join(err, os.RemoveAll(r.Dir))
}

// RedisAddr is the address of the Redis server.
func (r *Rig) RedisAddr() string { return r.server.Addr() }

// Redis returns a client of a database of the Redis server, which the caller closes.
func (r *Rig) Redis(db int) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: r.RedisAddr(), DB: db})
}

// RedisVersion returns the version of the Redis server.
func (r *Rig) RedisVersion(ctx context.Context) string {
	c := r.Redis(0)
	defer c.Close()
	info, _ := c.Info(ctx, "server").Result()
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// Flush empties the Redis server.
func (r *Rig) Flush(ctx context.Context) error {
	c := r.Redis(0)
	defer c.Close()
	if err := c.FlushAll(ctx).Err(); err != nil {
		return fmt.Errorf("empty the Redis server: %w", err)
	}
	return nil
}

// mongoURI returns the address of the MongoDB-wire server, which the first call builds and
// starts.
func (r *Rig) mongoURI() (string, error) {
	if uri := os.Getenv(mongotest.EnvURI); uri != "" {
		return uri, nil
	}
	if r.mongoUp == nil {
		var err error
		if r.mongo, r.mongoUp, err = mongotest.Launch(); err != nil {
			return "", fmt.Errorf("MongoDB-wire server: %w", err)
		}
	}
	return r.mongo, nil
}

// Folder makes a new folder.
func (r *Rig) Folder(name string) (string, error) {
	r.hosts++
	dir := filepath.Join(r.Dir, name+strconv.Itoa(r.hosts))
	return dir, os.Mkdir(dir, 0o700)
}

// RedisPort is the port of the Redis server.
func (r *Rig) RedisPort() int { return r.server.Port }

// RedisUsage is what the Redis server has used so far.
func (r *Rig) RedisUsage() (Usage, error) { return UsageOf(r.server.PID()) }
