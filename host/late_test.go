package host

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/metastore"
	memorystore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

func TestLateBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		var tries atomic.Int64
		b := lateBroker{newLate("queue", errors.New("refused at first"), slog.New(slog.DiscardHandler), func(context.Context) (brokers.Broker, error) {
			tries.Add(1)
			if !up.Load() {
				return nil, errors.New("refused again")
			}
			return memorybroker.New(), nil
		})}
		_, err := b.Stats(t.Context())
		require.ErrorContains(t, err, "not reached yet: refused at first")
		time.Sleep(10 * time.Minute)
		require.ErrorContains(t, b.Push(t.Context(), nil), "not reached yet: refused again")
		require.LessOrEqual(t, tries.Load(), int64(70), "it is not tried all the time")
		up.Store(true)
		woken := make(chan error)
		go func() { woken <- b.Wait(t.Context()) }()
		time.Sleep(time.Minute)
		require.NoError(t, b.Push(t.Context(), []task.Task{{ID: "a", Type: "x", PushedAt: time.Now()}}))
		require.NoError(t, <-woken)
		ds, err := b.Lease(t.Context(), 1, time.Minute)
		require.NoError(t, err)
		require.Len(t, ds, 1)
		require.NoError(t, b.Close())
	})
}

func TestLateStoreThatNeverComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := lateStore{newLate("records", errors.New("refused"), slog.New(slog.DiscardHandler), func(ctx context.Context) (metastore.Store, error) {
			<-ctx.Done() // a server that hangs
			return memorystore.New(), ctx.Err()
		})}
		time.Sleep(time.Minute)
		require.ErrorContains(t, s.Put(t.Context(), nil), "refused")
		require.NoError(t, s.Close())
		_, err := s.Get(t.Context(), nil)
		require.Error(t, err)
	})
}
