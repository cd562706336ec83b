package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/backplane/leptir/internal/redisconn"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

const (
	// maxGroup is the most records that one command is about: the server does nothing else
	// meanwhile.
	maxGroup = 256
	// maxTripBytes is about the most that one round trip carries.
	maxTripBytes = 8 << 20
	// maxTripRecords is the most records that one round trip is about.
	maxTripRecords = 1000
)

//go:embed put.lua
var putSource string

var putScript = redisconn.NewScript(putSource)

// Store keeps records on a Redis. It implements metastore.Store and is safe for concurrent
// use.
type Store struct {
	conn     *redisconn.Client
	name     string
	prefix   string
	lifetime int64 // seconds; 0 is for ever
	group    int   // the most records that one command is about
}

var _ metastore.Store = (*Store)(nil)

// Close closes the connections.
func (s *Store) Close() error { return s.wrap("close", s.conn.Close()) }

// wrap makes an error tell the store and what it was doing.
func (s *Store) wrap(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, redisconn.ErrClosed):
		err = metastore.ErrClosed
	case strings.Contains(err.Error(), "WRONGTYPE"):
		err = fmt.Errorf("a key that begins with %q is no record of leptir's: delete it, or set another key_prefix: %w", s.prefix, err)
	}
	return fmt.Errorf("meta storage %q: %s: %w", s.name, doing, err)
}

// Put implements metastore.Store.
func (s *Store) Put(ctx context.Context, records []task.Record) error {
	if len(records) == 0 {
		return s.wrap("put", s.conn.Usable(ctx))
	}
	var trip []item
	size := 0
	flush := func() error {
		items := trip
		trip, size = nil, 0
		if len(items) == 0 {
			return nil
		}
		_, err := redisconn.Do(ctx, s.conn, func(ctx context.Context) (any, error) { return nil, s.write(ctx, items) }, nil)
		return err
	}
	for i := range newest(records) {
		r := &records[i]
		b, err := encode(r)
		if err != nil {
			return s.wrap("put the record of task "+string(r.ID), err)
		}
		if trip == nil {
			trip = make([]item, 0, min(len(records), maxTripRecords))
		}
		trip = append(trip, item{s.prefix + string(r.ID), r.Run.Delivery, b})
		size += len(b)
		if len(trip) >= maxTripRecords || size >= maxTripBytes {
			if err := flush(); err != nil {
				return s.wrap("put", err)
			}
		}
	}
	return s.wrap("put", flush())
}

// item is a record to be written.
type item struct {
	key      string
	delivery int
	record   []byte
}

// newest yields the indexes of those records that no other of the same call replaces: of two
// with one id the one of the higher delivery stays, of two equal ones the later.
func newest(records []task.Record) func(yield func(int) bool) {
	winner := make(map[task.ID]int, len(records))
	for i := range records {
		if j, ok := winner[records[i].ID]; !ok || records[i].Run.Delivery >= records[j].Run.Delivery {
			winner[records[i].ID] = i
		}
	}
	return func(yield func(int) bool) {
		for i := range records {
			if winner[records[i].ID] == i && !yield(i) {
				return
			}
		}
	}
}

// write writes records: those that are the first of their tasks, as nearly all are, by a
// plain command each, which costs the server the least, the others by the script.
func (s *Store) write(ctx context.Context, items []item) error {
	old, err := s.add(ctx, items)
	if err != nil || len(old) == 0 {
		return err
	}
	var calls []call
	for group := range slices.Chunk(old, s.group) {
		c := call{args: []any{s.lifetime}}
		for _, it := range group {
			c.keys = append(c.keys, it.key)
			c.args = append(c.args, it.delivery, it.record)
		}
		calls = append(calls, c)
	}
	return s.run(ctx, calls)
}

// add writes, in one round trip, the records whose keys are not there, and returns the others.
func (s *Store) add(ctx context.Context, items []item) (old []item, err error) {
	tail := []any{"nx"}
	if s.lifetime > 0 {
		tail = []any{"nx", "ex", s.lifetime}
	}
	n := 3 + len(tail)
	args := make([]any, 0, n*len(items)) // of all commands
	pipe := s.conn.Redis.Pipeline()
	cmds := make([]*goredis.StatusCmd, len(items))
	for i := range items {
		args = append(append(args, "set", items[i].key, items[i].record), tail...)
		cmds[i] = goredis.NewStatusCmd(ctx, args[i*n:(i+1)*n:(i+1)*n]...)
		_ = pipe.Process(ctx, cmds[i]) // it only joins the pipeline
	}
	_, err = pipe.Exec(ctx)
	if err != nil && !errors.Is(err, goredis.Nil) {
		return nil, err
	}
	for i, cmd := range cmds {
		switch err := cmd.Err(); {
		case errors.Is(err, goredis.Nil):
			old = append(old, items[i])
		case err != nil:
			return nil, err
		}
	}
	return old, nil
}

// call is one run of the script.
type call struct {
	keys []string
	args []any
}

// run runs the script for all calls, in one round trip, or two where a server does not know
// the script.
func (s *Store) run(ctx context.Context, calls []call) error {
	for _, whole := range []bool{false, true} {
		pipe := s.conn.Redis.Pipeline()
		cmds := make([]*goredis.Cmd, len(calls))
		for i, c := range calls {
			send, cmd := putScript.Command(ctx, whole, c.keys, c.args)
			_ = pipe.Process(ctx, send) // it only joins the pipeline
			cmds[i] = cmd
		}
		_, err := pipe.Exec(ctx)
		if err == nil {
			return nil
		}
		var unknown []call
		for i, cmd := range cmds {
			switch {
			case redisconn.Unknown(cmd.Err()):
				unknown = append(unknown, calls[i])
			case cmd.Err() != nil:
				return cmd.Err()
			}
		}
		if len(unknown) == 0 || whole {
			return err
		}
		calls = unknown
	}
	return nil
}

// Get implements metastore.Store.
func (s *Store) Get(ctx context.Context, ids []task.ID) ([]task.Record, error) {
	if len(ids) == 0 {
		return nil, s.wrap("get", s.conn.Usable(ctx))
	}
	seen := make(map[task.ID]bool, len(ids))
	var unique []task.ID
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			unique = append(unique, id)
		}
	}
	var out []task.Record
	for len(unique) > 0 {
		trip := unique[:min(len(unique), maxGroup)]
		unique = unique[len(trip):]
		values, err := redisconn.Do(ctx, s.conn, func(ctx context.Context) ([]any, error) { return s.values(ctx, trip) }, nil)
		if err != nil {
			return nil, s.wrap("get", err)
		}
		for i, v := range values {
			text, ok := v.(string)
			if !ok {
				continue
			}
			r, err := decode([]byte(text))
			if err == nil && r.ID != trip[i] {
				err = fmt.Errorf("it is the record of task %s", r.ID)
			}
			if err != nil {
				return nil, s.wrap("get", fmt.Errorf("the record of task %s cannot be read: %w", trip[i], err))
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// values returns the texts of the records, nil for those that are not there, in one round trip.
func (s *Store) values(ctx context.Context, ids []task.ID) ([]any, error) {
	pipe := s.conn.Redis.Pipeline()
	var cmds []*goredis.SliceCmd
	for start := 0; start < len(ids); start += s.group {
		var keys []string
		for _, id := range ids[start:min(len(ids), start+s.group)] {
			keys = append(keys, s.prefix+string(id))
		}
		cmds = append(cmds, pipe.MGet(ctx, keys...))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	var out []any
	for _, cmd := range cmds {
		out = append(out, cmd.Val()...)
	}
	return out, nil
}
