package redis

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/backplane/leptir/internal/redisconn"
)

// rescueInterval is the least time between two searches for tasks that are in no set.
const rescueInterval = time.Minute

// rescue remembers when tasks that are in no set were last searched.
type rescue struct {
	mu   sync.Mutex
	last time.Time
}

// startRescue puts tasks that are in no set back into the queue, in the background. Only a
// server that evicts keys, or somebody who deletes one, makes such tasks.
func (b *Broker) startRescue() {
	b.rescue.mu.Lock()
	defer b.rescue.mu.Unlock()
	if b.background.Err() != nil || time.Since(b.rescue.last) < rescueInterval {
		return
	}
	b.rescue.last = time.Now()
	b.workers.Go(func() {
		n, err := b.rescueAll(b.background)
		switch {
		case err != nil && b.background.Err() == nil:
			b.log.Error("tasks that have lost their place could not all be put back into the queue", "broker", b.name, "tasks", n, "error", err)
		case n > 0:
			b.log.Error("tasks had lost their place and were put back into the queue: a key of the queue was deleted, or evicted by a server whose memory is full (set maxmemory-policy noeviction)", "broker", b.name, "tasks", n)
		}
	})
}

// rescueAll puts all tasks that are in no set back into the queue, and returns how many.
func (b *Broker) rescueAll(ctx context.Context) (int, error) {
	n := 0
	for cursor := "0"; ; {
		next, value, err := b.runStep(ctx, rescueScript, cursor, 200)
		if err != nil {
			return n, err
		}
		found, ok := value.(int64)
		if !ok {
			return n, strange(value)
		}
		n += int(found)
		if next == "0" {
			return n, nil
		}
		cursor = next
	}
}

// warnOfEviction warns of a server that may evict the queue when its memory is full. A server
// that does not say is taken to be fine.
func (b *Broker) warnOfEviction(ctx context.Context) {
	info, err := redisconn.Do(ctx, b.conn, func(ctx context.Context) (string, error) {
		return b.conn.Redis.Info(ctx, "memory").Result()
	}, nil)
	if err != nil {
		return
	}
	for line := range strings.Lines(info) {
		if policy, ok := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:allkeys-"); ok {
			b.log.Warn("the server evicts any key when its memory is full, a queue as well: set maxmemory-policy noeviction",
				"broker", b.name, "maxmemory_policy", "allkeys-"+policy)
		}
	}
}
