package dispatch

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	memorystore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

// renewals notes how much of a lease was left whenever it was extended.
type renewals struct {
	*watched
	mu    sync.Mutex
	until map[task.ID]time.Time
	least time.Duration
	n     int
}

func (r *renewals) Lease(ctx context.Context, n int, ttl time.Duration) ([]brokers.Delivery, error) {
	ds, err := r.watched.Lease(ctx, n, ttl)
	r.note(ds, ttl)
	return ds, err
}

func (r *renewals) Extend(ctx context.Context, ttl time.Duration, ds []brokers.Delivery) ([]task.ID, error) {
	r.mu.Lock()
	for _, d := range ds {
		r.least = min(r.least, time.Until(r.until[d.Task.ID]))
		r.n++
	}
	r.mu.Unlock()
	r.note(ds, ttl)
	return r.watched.Extend(ctx, ttl, ds)
}

func (r *renewals) note(ds []brokers.Delivery, ttl time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range ds {
		r.until[d.Task.ID] = time.Now().Add(ttl)
	}
}

// Leases are renewed before they are half over, whenever they began, and not much more often
// than that takes: brokers reckon with it.
func TestRenewedBeforeHalfALease(t *testing.T) {
	t.Parallel()
	for _, lease := range []time.Duration{3 * time.Second, 30 * time.Second} {
		t.Run(lease.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &renewals{watched: &watched{Broker: memorybroker.New()}, until: map[task.ID]time.Time{}, least: lease}
				slow := func(*pool.Job, <-chan process.Reason) pool.Outcome {
					time.Sleep(10 * lease)
					return ended(task.Success)
				}
				b := &bundle{t: t, runner: newRunner(8, slow), store: &failing{Store: memorystore.New()}, brokers: []*watched{w.watched}}
				b.begin(Options{Lease: lease, Brokers: []Broker{{Name: "b", Broker: w}}})
				for range 8 { // each at another moment between two looks
					b.push(0, 1, "demo.noop")
					time.Sleep(lease * 7 / 90)
				}
				time.Sleep(12 * lease)
				require.Equal(t, brokers.Stats{}, b.counts(0))
				require.GreaterOrEqual(t, w.least, lease/2)
				require.LessOrEqual(t, w.n, 8*10*3)
				b.stop()
			})
		})
	}
}
