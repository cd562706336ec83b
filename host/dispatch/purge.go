package dispatch

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/backplane/leptir/brokers"
)

const (
	// Old dead letters are looked for at least and at most so often, in between a hundred
	// times in their retention.
	purgeMostOften  = time.Minute
	purgeLeastOften = time.Hour
	// purgeBatch is the most letters that one call deletes, purgeCalls the most calls in a
	// row; what is left then waits for the next time.
	purgeBatch = 1000
	purgeCalls = 10
)

// purgeLoop deletes dead letters that are older than their retention, until the dispatcher
// closes. Hosts that share a queue share the work.
func (s *source) purgeLoop() {
	every := min(max(s.DeadRetention/100, purgeMostOften), purgeLeastOften)
	// Not all hosts at once, nor a host that is started again and again at every start.
	wait := time.NewTimer(time.Duration(rand.Int64N(int64(purgeMostOften))))
	defer wait.Stop()
	for {
		select {
		case <-s.d.ctx.Done():
			return
		case <-wait.C:
		}
		s.purge()
		wait.Reset(every)
	}
}

// purge deletes old dead letters, a bounded number of them.
func (s *source) purge() {
	purger, ok := brokers.Ability[brokers.Purger](s.Broker.Broker)
	if !ok {
		return
	}
	gone := 0
	for range purgeCalls {
		ctx, cancel := context.WithTimeout(s.d.ctx, callTimeout)
		n, err := purger.Purge(ctx, s.dueAt(time.Now().Add(-s.DeadRetention)), purgeBatch)
		cancel()
		gone += n
		if err != nil && s.d.ctx.Err() == nil {
			s.d.o.Logger.Warn("old dead letters cannot be deleted; it will be tried again", "broker", s.Name, "error", err)
		}
		if err != nil || n < purgeBatch {
			break
		}
	}
	if gone > 0 {
		s.d.o.Logger.Info("old dead letters deleted", "broker", s.Name, "letters", gone, "dead_retention", s.DeadRetention.String())
	}
}
