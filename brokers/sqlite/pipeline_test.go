package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/sqlite"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/metastore"
	stores "github.com/backplane/leptir/metastore/sqlite"
	"github.com/backplane/leptir/task"
)

// BenchmarkPipeline is what a host does with the embedded default all day: lease a batch,
// record its end, settle it, with queue and records in one file.
func BenchmarkPipeline(b *testing.B) {
	for _, batch := range []int{32, 256} {
		for _, workers := range []int{1, 4} {
			b.Run(fmt.Sprintf("batch=%d/workers=%d", batch, workers), func(b *testing.B) {
				pipeline(b, batch, workers)
			})
		}
	}
}

// pipeline works off b.N batches.
func pipeline(b *testing.B, batch, workers int) {
	ctx := context.Background()
	path := settings.Path(filepath.Join(b.TempDir(), "leptir.db"))
	bs, ss := sqlite.Defaults(), stores.Defaults()
	bs.Path, ss.Path = path, path
	broker, err := bs.Open(ctx, brokers.Env{Name: "bench"})
	require.NoError(b, err)
	defer broker.Close()
	store, err := ss.Open(ctx, metastore.Env{Name: "bench"})
	require.NoError(b, err)
	defer store.Close()
	total := b.N * batch
	for left := total; left > 0; left -= 1000 {
		ts := make([]task.Task, min(left, 1000))
		for i := range ts {
			ts[i] = task.Task{ID: task.NewID(), Type: "bench.echo", Params: []byte(`{"text":"hello, world","n":42}`), PushedAt: time.Now()}
		}
		require.NoError(b, broker.Push(ctx, ts))
	}

	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(total))
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for left.Load() > 0 {
				n, err := workOff(ctx, broker, store, batch)
				if err != nil {
					b.Error(err)
					return
				}
				left.Add(-int64(n))
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "tasks/s")
}

func workOff(ctx context.Context, broker brokers.Broker, store metastore.Store, batch int) (int, error) {
	ds, err := broker.Lease(ctx, batch, time.Minute)
	if err != nil || len(ds) == 0 {
		return 0, err
	}
	now := time.Now().UTC()
	rs, ss := make([]task.Record, len(ds)), make([]brokers.Settlement, len(ds))
	for i, d := range ds {
		rs[i] = task.Record{ID: d.Task.ID, Status: task.Completed, RetC: task.Success, ExTime: 0.0012, RespM: "sent to 3 recipients", Type: d.Task.Type, ExStart: now,
			Run: task.Run{Attempt: d.Attempt, Delivery: d.Sequence, Ended: now, Host: "host-1", Process: 4711, Plugin: "bench"}}
		ss[i] = brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done}
	}
	if err := store.Put(ctx, rs); err != nil {
		return 0, err
	}
	lost, err := broker.Settle(ctx, ss)
	if err == nil && len(lost) > 0 {
		err = fmt.Errorf("%d leases were lost", len(lost))
	}
	return len(ds), err
}
