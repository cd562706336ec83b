package dispatch

import (
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

// Dead letters go when their retention is over, not before, and many of them not all at once.
func TestDeadRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bundle{t: t, runner: newRunner(100, func(*pool.Job, <-chan process.Reason) pool.Outcome { return ended(task.Error) }),
			store: &failing{Store: memorystore.New()}}
		var o Options
		for _, keep := range []time.Duration{30 * time.Minute, 0} {
			w := &watched{Broker: memorybroker.New()}
			b.brokers = append(b.brokers, w)
			o.Brokers = append(o.Brokers, Broker{Name: "b", DeadRetention: keep, Broker: full{w}})
		}
		const many = purgeBatch*purgeCalls + 500
		b.push(0, many, "a.b")
		ds, err := b.brokers[0].Broker.Lease(t.Context(), many, time.Minute)
		require.NoError(t, err)
		ss := make([]brokers.Settlement, len(ds))
		for i, d := range ds {
			ss[i] = brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Bury}
		}
		_, err = b.brokers[0].Broker.Settle(t.Context(), ss)
		require.NoError(t, err)
		o.EmptySleep = time.Hour
		b.begin(o)
		b.push(1, 10, "a.b")
		time.Sleep(15 * time.Minute)
		late := b.push(0, 5, "a.b")
		time.Sleep(15 * time.Minute)
		require.Equal(t, brokers.Stats{Dead: many + 5}, b.counts(0))
		time.Sleep(purgeMostOften + time.Second)
		require.Equal(t, brokers.Stats{Dead: 505}, b.counts(0), "a bounded number at a time")
		time.Sleep(purgeMostOften)
		require.Equal(t, brokers.Stats{Dead: int64(len(late))}, b.counts(0))
		time.Sleep(15 * time.Minute)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.Equal(t, brokers.Stats{Dead: 10}, b.counts(1), "by default they are kept for ever")
		b.stop()
	})
}
