package dispatch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/task"
)

// What is tuned holds from then on.
func TestTune(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		attempts := map[task.ID]int{}
		run := func(j *pool.Job, _ <-chan process.Reason) pool.Outcome {
			attempts[j.Task.ID] = j.Attempt
			return ended(task.Error)
		}
		b := start(t, newRunner(1, run), Options{MaxAttempts: 1, EmptySleep: time.Second, Backoff: func(int) time.Duration { return time.Second }}, 0)
		first := b.push(0, 1, "x")[0]
		time.Sleep(time.Minute)
		require.EqualValues(t, 1, b.counts(0).Dead)

		b.Tune(Tuning{MaxAttempts: 3, EmptySleep: 10 * time.Second})
		second := b.push(0, 1, "x")[0]
		time.Sleep(time.Minute)
		require.EqualValues(t, 2, b.counts(0).Dead)
		require.Equal(t, map[task.ID]int{first: 1, second: 3}, attempts)

		polled := func() int64 {
			before := b.brokers[0].leases.Load()
			time.Sleep(time.Minute)
			return b.brokers[0].leases.Load() - before
		}
		slow := polled()
		b.Tune(Tuning{EmptySleep: time.Second})
		quick := polled()
		require.Less(t, slow, int64(10))
		require.Greater(t, quick, 5*slow)
		b.stop()
	})
}

// stuck is a pool that takes no jobs for a while.
type stuck struct {
	*runner
	free chan struct{}
}

func (s stuck) Submit(jobs []*pool.Job) error {
	<-s.free
	return s.runner.Submit(jobs)
}

// The feed's answer is the proof of life: as long as it hangs there is none.
func TestAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := stuck{newRunner(1, succeed), make(chan struct{})}
		b, w := lone(t, r.runner)
		b.begin(Options{Brokers: []Broker{{Name: "b", Broker: w}}, Pool: r, EmptySleep: time.Second})
		require.NoError(t, b.Alive(t.Context()), "idle")
		b.push(0, 1, "x")
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := b.Alive(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "the feeding of tasks does not answer")
		close(r.free)
		require.NoError(t, b.Alive(t.Context()))
		b.stop()
		require.NoError(t, b.Alive(t.Context()), "one that has ended in order is not dead")
	})
}
