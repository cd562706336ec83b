package dispatch

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/task"
)

// gathering is a runner that keeps outcomes until somebody takes them, as a pool does.
type gathering struct {
	*runner
	out chan []pool.Outcome
}

func newGathering(r *runner) *gathering {
	g := &gathering{r, make(chan []pool.Outcome)}
	go func() {
		defer close(g.out)
		var kept []pool.Outcome
		for from := r.outcomes; from != nil || len(kept) > 0; {
			var to chan []pool.Outcome
			if len(kept) > 0 {
				to = g.out
			}
			select {
			case o, ok := <-from:
				if kept = append(kept, o...); !ok {
					from = nil
				}
			case to <- kept:
				kept = nil
			}
		}
	}()
	return g
}

func (g *gathering) Outcomes() <-chan []pool.Outcome { return g.out }

// Short tasks are recorded and settled in lots; one after a quiet moment at once.
func TestShortTasksAreSettledInLots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRunner(1, func(*pool.Job, <-chan process.Reason) pool.Outcome {
			time.Sleep(100 * time.Microsecond)
			return ended(task.Success)
		})
		b, w := lone(t, r)
		b.begin(Options{Brokers: []Broker{{Name: "b", Broker: full{w}}}, Pool: newGathering(r)})
		for range 3 {
			time.Sleep(time.Second)
			b.push(0, 1, "demo.noop")
			time.Sleep(101 * time.Microsecond)
			synctest.Wait()
			require.Equal(t, brokers.Stats{}, b.counts(0), "settled when it had ended")
		}
		time.Sleep(time.Second)
		settles := w.settles.Load()
		b.push(0, 200, "demo.noop")
		time.Sleep(time.Second)
		require.Equal(t, brokers.Stats{}, b.counts(0))
		require.LessOrEqual(t, w.settles.Load()-settles, int64(200*100*time.Microsecond/gatherFor+2))
		b.stop()
	})
}
