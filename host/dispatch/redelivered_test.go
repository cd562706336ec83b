package dispatch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/metastore"
	memorystore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

// Tasks have ended, with their records, and the broker goes down before it hears of that. When
// it is back it hands them, their leases over, to the very host that has yet to settle them:
// they do not run again.
func TestRedeliveredToTheHostThatHasRecorded(t *testing.T) {
	t.Parallel()
	for down := 9 * time.Second; down < 25*time.Second; down += 500 * time.Millisecond { // the calls' backoffs differ
		t.Run(down.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				run := func(j *pool.Job, _ <-chan process.Reason) pool.Outcome {
					time.Sleep(100 * time.Millisecond)
					if j.Task.Type == "second" {
						time.Sleep(time.Second) // its settlement waits behind the other's
					}
					return ended(task.Success)
				}
				b, w := lone(t, newRunner(4, run))
				b.push(0, 1, "first")
				b.push(0, 1, "second")
				b.begin(Options{Lease: 10 * time.Second, Brokers: []Broker{{Name: "b", Broker: w}}})
				time.Sleep(50 * time.Millisecond)
				require.Len(t, b.runner.ran(), 2)
				w.fail.Store(true)
				time.Sleep(down)
				w.fail.Store(false)
				time.Sleep(time.Minute)
				require.Equal(t, brokers.Stats{}, b.counts(0))
				require.Len(t, b.runner.ran(), 2, "each has run once")
				b.stop()
			})
		})
	}
}

// unreadable is a store that does not answer questions; others use what it is made of later.
type unreadable struct{ metastore.Store }

func (unreadable) Close() error { return nil }

func (unreadable) Get(ctx context.Context, _ []task.ID) ([]task.Record, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A host that ends while it asks how the run before has gone leaves the task as it is: the next
// host finds that it has ended.
func TestHostEndsWhileItExamines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, queue := memorystore.New(), memorybroker.NewQueue(memorybroker.Options{})
		first := &bundle{t: t, runner: newRunner(4, succeed), store: &failing{Store: unreadable{store}}}
		w := &watched{Broker: queue.Open()}
		first.brokers = []*watched{w}
		id := first.push(0, 1, "demo.noop")[0]
		require.NoError(t, store.Put(t.Context(), []task.Record{{ID: id, Status: task.Completed, RetC: task.Success, Type: "demo.noop",
			Run: task.Run{Attempt: 1, Delivery: task.DeliveryOrder(time.Now(), 1), Ended: time.Now().UTC()}}}))
		_, err := w.Broker.Lease(t.Context(), 1, time.Second) // the host that has recorded it, and is lost
		require.NoError(t, err)
		time.Sleep(2 * time.Second)

		first.begin(Options{Lease: 10 * time.Second, Brokers: []Broker{{Name: "b", Broker: w}}})
		time.Sleep(time.Second)
		first.stop()
		require.Empty(t, first.runner.ran())

		second := &bundle{t: t, runner: newRunner(4, succeed), store: &failing{Store: store}}
		w = &watched{Broker: queue.Open()}
		second.brokers = []*watched{w}
		second.begin(Options{Lease: 10 * time.Second, Brokers: []Broker{{Name: "b", Broker: w}}})
		time.Sleep(30 * time.Second)
		require.Equal(t, brokers.Stats{}, second.counts(0))
		require.Empty(t, second.runner.ran(), "it has ended long ago")
		second.stop()
	})
}
