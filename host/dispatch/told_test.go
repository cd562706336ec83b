package dispatch

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

// What a running task tells of itself stands in its record a second later, also what it
// tells last before it falls silent, and stays there when the task has ended.
func TestProgressIsRecorded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &Observer{Logger: slog.New(slog.DiscardHandler)}
		b := start(t, newRunner(1, func(j *pool.Job, _ <-chan process.Reason) pool.Outcome {
			o.State(j, &pluginpb.State{State: 1})
			o.Progress(j, &pluginpb.Progress{Fraction: 0.1, Text: "before it is worth telling"})
			o.Running(j, "demo", 7, time.Now())
			time.Sleep(10 * time.Second)
			o.Progress(j, &pluginpb.Progress{Fraction: 0.5})
			o.State(j, &pluginpb.State{State: 2})
			for i := range 1000 {
				o.Progress(j, &pluginpb.Progress{Fraction: 0.5 + float64(i)/4000, Text: "much at once"})
			}
			time.Sleep(10 * time.Second)
			out := died(process.ReasonSignal)
			if j.Task.Type == "good" {
				out = ended(task.Success)
				out.Result.Value, out.Result.States = []byte(`{"rows":9007199254740993}`), []int32{1, 2}
			}
			return out
		}), Options{}, 0)
		for _, typ := range []string{"good", "bad"} {
			id := b.push(0, 1, typ)[0]
			time.Sleep(5 * time.Second)
			r, _ := b.record(id)
			require.Equal(t, task.InProgress, r.Status)
			require.Equal(t, &task.Progress{Fraction: 0.1, Text: "before it is worth telling"}, r.Run.Progress)
			require.Equal(t, []int{1}, r.Run.States)
			require.Equal(t, 7, r.Run.Process)
			time.Sleep(10 * time.Second)
			r, _ = b.record(id)
			require.Equal(t, &task.Progress{Fraction: 0.5 + 999.0/4000, Text: "much at once"}, r.Run.Progress)
			require.Equal(t, []int{1, 2}, r.Run.States)
			time.Sleep(10 * time.Second)
			r, _ = b.record(id)
			require.Equal(t, task.Completed, r.Status)
			require.Equal(t, "much at once", r.Run.Progress.Text)
			require.Equal(t, []int{1, 2}, r.Run.States)
			if typ == "good" {
				require.JSONEq(t, `{"rows":9007199254740993}`, string(r.Run.Result))
			}
		}
		b.stop()
	})
}

func TestHostileProgress(t *testing.T) {
	t.Parallel()
	for in, want := range map[float64]float64{0.25: 0.25, -1: 0, 7: 1, math.Inf(1): 1, math.Inf(-1): 0} {
		require.Equal(t, want, ProgressOf(&pluginpb.Progress{Fraction: in}).Fraction)
	}
	p := ProgressOf(&pluginpb.Progress{Fraction: math.NaN(), Text: string(make([]byte, 1<<20)) + "\xff"})
	require.Zero(t, p.Fraction)
	require.LessOrEqual(t, len(p.Text), maxReason+10)
	_, err := json.Marshal(p)
	require.NoError(t, err)
}

// A result value that is no JSON, or too long, is left out, which the record says.
func TestHostileResultValues(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"{", "NaN", "[1", string(make([]byte, maxResult+1))} {
		o := ended(task.Success)
		o.Job = &pool.Job{Task: task.Task{ID: "t1", Type: "a"}}
		o.Result.Value = []byte(value)
		r := RecordOf(&o, "h")
		require.Nil(t, r.Run.Result)
		require.Contains(t, r.Run.Note, "result value left out")
		_, err := json.Marshal(r)
		require.NoError(t, err)
	}
}

// A task whose parameters its plugin does not want is not run: it fails, for good.
func TestBadParametersAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		check := func(tk *task.Task) error {
			if tk.Type == "bad" {
				return errors.New(`parameter "to": not defined`)
			}
			return nil
		}
		b := start(t, newRunner(4, succeed), Options{MaxAttempts: 5, Check: check}, 0)
		bad, good := b.push(0, 3, "bad"), b.push(0, 3, "good")
		time.Sleep(10 * time.Second)
		for _, id := range bad {
			r, ok := b.record(id)
			require.True(t, ok)
			require.Equal(t, task.Completed, r.Status)
			require.Equal(t, task.Error, r.RetC)
			require.Equal(t, `parameter "to": not defined`, r.RespM)
			require.Equal(t, 1, r.Run.Attempt)
		}
		require.ElementsMatch(t, good, b.runner.begun)
		require.Equal(t, brokers.Stats{Dead: 3}, b.counts(0))
		require.Zero(t, b.Held())
		b.stop()
	})
}
