package pool

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A pool is made larger and smaller while it works.
func TestResize(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{demo(t)})
	sleep := map[string]any{"seconds": 0.5}
	submit := func(n int) {
		var jobs []*Job
		for range n {
			jobs = append(jobs, b.job("demo.sleep", sleep, 0))
		}
		require.NoError(t, b.Submit(jobs))
	}
	submit(4)
	require.Eventually(t, func() bool { return b.Status().Busy == 1 }, 20*time.Second, time.Millisecond)
	b.Resize(4)
	require.Equal(t, 4, b.Status().Workers)
	require.Eventually(t, func() bool { return b.Status().Busy == 3 }, 20*time.Second, time.Millisecond, "more run at once")
	b.Resize(1)
	b.wait(4)
	submit(3)
	require.Never(t, func() bool { return b.Status().Busy > 1 }, 300*time.Millisecond, 5*time.Millisecond)
	b.wait(7)
}

// A new revision of a plugin's configuration has new processes; what runs goes on.
func TestNewRevision(t *testing.T) {
	t.Parallel()
	b := setup(t, 2)
	b.SetPlugins([]Plugin{demo(t)})
	noop := b.job("demo.noop", nil, 0)
	require.NoError(t, b.Submit([]*Job{noop}))
	before := b.wait(1)[noop.Task.ID].PID
	running := b.job("demo.sleep", map[string]any{"seconds": 1}, 0)
	require.NoError(t, b.Submit([]*Job{running}))
	require.Eventually(t, func() bool { return b.Status().Busy == 1 }, 20*time.Second, time.Millisecond)

	again := demo(t)
	again.Revision++
	again.Spec.Env = []string{"MODE=new"}
	b.SetPlugins([]Plugin{again})
	next := b.job("demo.noop", nil, 0)
	require.NoError(t, b.Submit([]*Job{next}))
	got := b.wait(3)
	require.Equal(t, Ended, got[running.Task.ID].Kind)
	require.Equal(t, Ended, got[next.Task.ID].Kind)
	require.Contains(t, []int{got[running.Task.ID].PID, got[noop.Task.ID].PID}, before)
	require.NotEqual(t, before, got[next.Task.ID].PID)
	require.NotEqual(t, got[running.Task.ID].PID, got[next.Task.ID].PID)
	b.SetPlugins([]Plugin{again})
	last := b.job("demo.noop", nil, 0)
	require.NoError(t, b.Submit([]*Job{last}))
	b.wait(4)
	require.Equal(t, 1, b.Status().Plugins[0].Generation, "operators see that of the binary")
}

func TestAlive(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	require.NoError(t, b.Alive(t.Context()))
	stuck, free := make(chan struct{}), make(chan struct{})
	go b.call(func() { close(stuck); <-free })
	<-stuck
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := b.Alive(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "the pool of processes does not answer")
	close(free)
	require.NoError(t, b.Alive(t.Context()))
}
