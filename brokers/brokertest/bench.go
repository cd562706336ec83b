package brokertest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// Bench measures a kind of broker: pushes one by one and a hundred at a time, and lease and
// settlement in batches of 1, 32, 100 and 256, with 1,000 tasks waiting. Set the
// environment variable BROKERTEST_WAITING to another number, for example 1000000, to see
// whether a long queue slows it down. Every benchmark reports tasks/s.
func Bench(b *testing.B, h Harness) {
	h = h.withDefaults()
	waiting := 1000
	if s := os.Getenv("BROKERTEST_WAITING"); s != "" {
		var err error
		waiting, err = strconv.Atoi(s)
		require.NoError(b, err, "BROKERTEST_WAITING")
	}
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("push/%d", n), func(b *testing.B) {
			br := benchBroker(b, h, 0)
			done := 0
			for b.Loop() {
				b.StopTimer()
				ts := benchTasks(n)
				b.StartTimer()
				require.NoError(b, br.Push(context.Background(), ts))
				done += n
			}
			perSecond(b, done)
		})
	}
	for _, n := range []int{1, 32, 100, 256} {
		b.Run(fmt.Sprintf("lease+settle/%d", n), func(b *testing.B) {
			br := benchBroker(b, h, waiting)
			left, done := waiting, 0
			for b.Loop() {
				if left < waiting/2 || left < n { // keep the queue about as long as it was
					b.StopTimer()
					fill(b, br, waiting-left+n)
					left = waiting + n
					b.StartTimer()
				}
				ds, err := br.Lease(context.Background(), n, time.Minute)
				require.NoError(b, err)
				require.NotEmpty(b, ds)
				_, err = br.Settle(context.Background(), settlements(brokers.Done, ds))
				require.NoError(b, err)
				done += len(ds)
				left -= len(ds)
			}
			perSecond(b, done)
		})
	}
	b.Run("stats", func(b *testing.B) {
		br := benchBroker(b, h, waiting)
		for b.Loop() {
			_, err := br.Stats(context.Background())
			require.NoError(b, err)
		}
	})
}

func perSecond(b *testing.B, tasks int) {
	b.ReportMetric(float64(tasks)/b.Elapsed().Seconds(), "tasks/s")
}

func benchBroker(b *testing.B, h Harness, waiting int) brokers.Broker {
	br := h.NewQueue(b).Open(b)
	b.Cleanup(func() { require.NoError(b, br.Close()) })
	fill(b, br, waiting)
	return br
}

func fill(b *testing.B, br brokers.Broker, n int) {
	for ; n > 0; n -= 1000 {
		require.NoError(b, br.Push(context.Background(), benchTasks(min(n, 1000))))
	}
}

func benchTasks(n int) []task.Task {
	now := time.Now()
	ts := make([]task.Task, n)
	for i := range ts {
		ts[i] = task.Task{ID: task.NewID(), Type: "bench.echo", Params: []byte(`{"text":"hello, world","n":42}`), PushedAt: now}
	}
	return ts
}
