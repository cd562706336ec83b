package dispatch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	memorystore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

// slowToExtend takes its time for every renewal.
type slowToExtend struct {
	full
	takes time.Duration
}

func (s slowToExtend) Extend(ctx context.Context, ttl time.Duration, ds []brokers.Delivery) ([]task.ID, error) {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.full.Extend(ctx, ttl, ds)
}

// Thousands of leases of a broker that needs seconds for a renewal are all kept: calls run
// side by side, and what ends first is renewed first.
func TestSlowBrokerKeepsItsLeases(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 3072
		b := &bundle{t: t, runner: newRunner(n, untilKilled), store: &failing{Store: memorystore.New()}}
		queue := memorybroker.NewQueue(memorybroker.Options{})
		w, other := &watched{Broker: queue.Open()}, queue.Open()
		b.brokers = append(b.brokers, w)
		b.begin(Options{Brokers: []Broker{{Name: "slow", Broker: slowToExtend{full{w}, 8 * time.Second}}}})
		b.push(0, n, "demo.sleep")
		time.Sleep(time.Second)
		for range 70 {
			time.Sleep(time.Second)
			ds, err := other.Lease(t.Context(), n, time.Minute)
			require.NoError(t, err)
			require.Empty(t, ds, "leases that ran out")
		}
		require.Equal(t, brokers.Stats{Leased: n}, b.counts(0))
		require.Len(t, b.runner.ran(), n, "each has been begun once")
		b.stop()
	})
}

// With several brokers, what comes after the last counted task was leased is picked up at
// once, not at the next count.
func TestPickUpAfterTheLastCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bundle{t: t, runner: newRunner(4, succeed), store: &failing{Store: memorystore.New()}}
		var o Options
		for i := range 2 {
			w := &watched{Broker: memorybroker.New()}
			b.brokers = append(b.brokers, w)
			o.Brokers = append(o.Brokers, Broker{Name: "b", Priority: i, CountFor: time.Hour, Broker: full{w}})
		}
		o.EmptySleep = time.Hour
		b.begin(o)
		time.Sleep(time.Second)
		for range 5 {
			b.push(1, 1, "demo.noop")
			time.Sleep(10 * time.Millisecond)
			require.Equal(t, brokers.Stats{}, b.counts(1), "leased and settled")
		}
		b.stop()
	})
}

// A paused queue gives nothing, costs no calls to speak of, and goes on at once when it is
// resumed.
func TestPausedQueue(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			b := &bundle{t: t, runner: newRunner(4, succeed), store: &failing{Store: memorystore.New()}}
			var o Options
			for range n {
				w := &watched{Broker: memorybroker.New()}
				b.brokers = append(b.brokers, w)
				o.Brokers = append(o.Brokers, Broker{Name: "b", CountFor: 200 * time.Millisecond, Broker: full{w}})
			}
			p, ok := brokers.Ability[brokers.Pauser](b.brokers[0].Broker)
			require.True(t, ok)
			require.NoError(t, p.Pause(t.Context()))
			o.EmptySleep = 500 * time.Millisecond
			b.begin(o)
			b.push(0, 10, "demo.noop")
			time.Sleep(time.Minute)
			require.Equal(t, brokers.Stats{Ready: 10, Paused: true}, b.counts(0))
			require.LessOrEqual(t, b.brokers[0].leases.Load()+b.brokers[0].stats.Load(), int64(250))
			require.NoError(t, p.Resume(t.Context()))
			time.Sleep(100 * time.Millisecond)
			require.Equal(t, brokers.Stats{}, b.counts(0))
			b.stop()
		})
	}
}
