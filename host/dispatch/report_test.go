package dispatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/internal/pluginpb"
	memorystore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

// reports keeps what is reported.
type reports struct {
	mu  sync.Mutex
	all []report.Report
}

func (r *reports) Report(rep report.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, rep)
}

// said returns the reports as texts.
func (r *reports) said() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rep := range r.all {
		next := ""
		switch {
		case rep.Final:
			next = " final"
		case !rep.RetryAt.IsZero():
			next = " again"
		}
		all = append(all, fmt.Sprintf("%s %v %d%s: %s", rep.Kind, rep.Exception, rep.Task.Attempt, next, rep.Message))
	}
	return all
}

// outcomes runs a task of each outcome and returns what was reported.
func outcomes(t *testing.T, attempts int, make func(j *pool.Job) pool.Outcome) (*reports, []string) {
	r := &reports{}
	var said []string
	synctest.Test(t, func(t *testing.T) {
		b := start(t, newRunner(1, func(j *pool.Job, _ <-chan process.Reason) pool.Outcome { return make(j) }),
			Options{Reports: r, MaxAttempts: attempts, Backoff: func(int) time.Duration { return time.Second }}, 0)
		b.push(0, 1, "mail.send")
		time.Sleep(10 * time.Second)
		b.stop()
		said = r.said()
	})
	return r, said
}

func failed(f *pluginpb.Failure, code int32, also ...*pluginpb.Failure) pool.Outcome {
	o := ended(task.Success)
	o.Result = &pluginpb.Result{ReturnCode: code, Failure: f, Also: also}
	return o
}

func diedOf(reason process.Reason) pool.Outcome {
	return pool.Outcome{Kind: pool.Died, Plugin: "mail", PID: 7, Exit: process.Exit{Reason: reason, PeakMemory: 5, Output: []string{"boom"}}, Dump: "goroutine 1"}
}

func TestOutcomesAreReported(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		attempts int
		outcome  pool.Outcome
		want     []string
	}{
		{"success", 1, ended(task.Success), nil},
		{"warning", 1, ended(task.Warning), nil},
		{"unknown", 1, failed(nil, 17), nil},
		{"error", 3, failed(&pluginpb.Failure{Message: "busy", Kind: "error"}, 3), []string{"error true 1 again: busy", "error true 2 again: busy", "error true 3 final: busy"}},
		{"error without a word", 1, failed(nil, 3), []string{"error true 1 final: the task returned error"}},
		{"permanent", 3, failed(&pluginpb.Failure{Message: "no", Kind: "input", Permanent: true}, 3), []string{"input true 1 final: no"}},
		{"panic", 1, failed(&pluginpb.Failure{Message: "nil map", Kind: "panic"}, 3), []string{"panic true 1 final: nil map"}},
		{"a kind of its own", 1, failed(&pluginpb.Failure{Message: "x", Kind: "crash"}, 3), []string{"error true 1 final: x"}},
		{"crash", 1, diedOf(process.ReasonSignal), []string{"crash true 1 final: process died of signal 0"}},
		{"time-out", 1, diedOf(process.ReasonTimeout), []string{"timeout true 1 final: time limit of 0s exceeded"}},
		{"after finish", 1, failed(nil, 1, &pluginpb.Failure{Message: "after finish: disk full", Kind: "panic"}), []string{"panic true 1: after finish: disk full"}},
		{"both", 1, failed(&pluginpb.Failure{Message: "busy"}, 3, &pluginpb.Failure{Message: "after finish: disk full"}),
			[]string{"error true 1 final: busy", "error true 1: after finish: disk full"}},
		{"the host shuts down", 1, diedOf(process.ReasonShutdown), nil},
		{"given back", 1, pool.Outcome{Kind: pool.Returned}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			runs := 0
			_, said := outcomes(t, tt.attempts, func(*pool.Job) pool.Outcome {
				if runs++; runs > 1 && (tt.outcome.Kind == pool.Returned || tt.outcome.Exit.Reason == process.ReasonShutdown) {
					return ended(task.Success) // or it would be given back for ever
				}
				return tt.outcome
			})
			require.Equal(t, tt.want, said)
		})
	}
}

// That a cancelled task ends is what somebody has wanted.
func TestCancelledIsNotReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reports{}
		b := startFull(t, newRunner(4, untilKilled), Options{Reports: r})
		id := b.push(0, 1, "demo.sleep")[0]
		time.Sleep(5 * time.Second)
		b.cancelTask(id, wish(0))
		time.Sleep(5 * time.Second)
		rec, ok := b.record(id)
		require.True(t, ok)
		requireCancelled(t, rec)
		require.Empty(t, r.said())
		b.stop()
	})
}

func TestReportOfACrash(t *testing.T) {
	t.Parallel()
	r, _ := outcomes(t, 1, func(*pool.Job) pool.Outcome { return diedOf(process.ReasonSignal) })
	rep := r.all[0]
	require.Equal(t, "mail.send", rep.Task.Type)
	require.NotEmpty(t, rep.Task.ID)
	require.Equal(t, "mail", rep.Plugin)
	require.Equal(t, 7, rep.PID)
	require.Equal(t, "goroutine 1", rep.Stack)
	require.Equal(t, "signal", rep.Exit.Reason)
	require.EqualValues(t, 5, rep.Exit.PeakMemory)
	require.Equal(t, []string{"boom"}, rep.Exit.Stderr)
	require.Nil(t, rep.Data)

	r, _ = outcomes(t, 1, func(*pool.Job) pool.Outcome { return diedOf(process.ReasonTimeout) })
	rep = r.all[0]
	require.JSONEq(t, fmt.Sprintf(`{"task_id":%q,"task_type":"mail.send","time_limit":"0s"}`, rep.Task.ID), string(rep.Data))
}

func TestManyFailuresBeside(t *testing.T) {
	t.Parallel()
	var also []*pluginpb.Failure
	for range 1000 {
		also = append(also, &pluginpb.Failure{Message: "x"})
	}
	_, said := outcomes(t, 1, func(*pool.Job) pool.Outcome { return failed(nil, 1, also...) })
	require.Len(t, said, maxAlso)
}

// What the host leaves out of a task's record is reported.
func TestRefusedMetaInfoIsReported(t *testing.T) {
	t.Parallel()
	_, said := outcomes(t, 1, func(*pool.Job) pool.Outcome {
		o := ended(task.Success)
		o.Result.Meta = []byte("[]")
		return o
	})
	require.Equal(t, []string{"task false 1: additional meta info left out: it is not a JSON object"}, said)
}

func TestUnservedIsReportedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reports{}
		b := start(t, newRunner(4, func(*pool.Job, <-chan process.Reason) pool.Outcome {
			return pool.Outcome{Kind: pool.Unserved, Reason: `no plugin serves task type "x"`}
		}), Options{Reports: r}, 0)
		b.push(0, 3, "x")
		b.push(0, 1, "y")
		time.Sleep(10 * time.Minute)
		b.PluginsChanged()
		time.Sleep(10 * time.Minute)
		require.Len(t, r.said(), 2, "once for each type: %v", r.said())
		require.Contains(t, strings.Join(r.said(), "\n"), `tasks of type "x" wait for their plugin: no plugin serves`)
		b.stop()
	})
}

func TestUnreadableIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reports{}
		q := memorybroker.NewQueue(memorybroker.Options{})
		id := q.PushRaw([]byte("{no JSON"))
		w := &watched{Broker: q.Open()}
		b := &bundle{t: t, runner: newRunner(1, succeed), store: &failing{Store: memorystore.New()}, brokers: []*watched{w}}
		b.begin(Options{Reports: r, Brokers: []Broker{{Name: "b", Broker: w}}})
		time.Sleep(time.Minute)
		require.Equal(t, brokers.Stats{Dead: 1}, b.counts(0))
		require.Len(t, r.said(), 1, "once")
		require.Contains(t, r.said()[0], "unreadable false 1 final: unreadable message: ")
		require.Equal(t, id, r.all[0].Task.ID)
		b.stop()
	})
}

func TestRefusedParametersAreReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reports{}
		b := start(t, newRunner(4, succeed), Options{Reports: r, Check: func(*task.Task) error { return errors.New(`parameter "to": not defined`) }}, 0)
		b.push(0, 1, "bad")
		time.Sleep(5 * time.Second)
		require.Equal(t, []string{`input true 1 final: parameter "to": not defined`}, r.said())
		b.stop()
	})
}

// What a running task reports goes out at once, with the data that it has added, and so
// does what comes of it; too much is left out.
func TestTaskReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reports{}
		var observer Observer
		b := start(t, newRunner(1, func(j *pool.Job, _ <-chan process.Reason) pool.Outcome {
			say := func(what *pluginpb.Report) { observer.Report(j, "mail", 7, what) }
			data := func(s string) { say(&pluginpb.Report{What: &pluginpb.Report_Data{Data: []byte(s)}}) }
			data(`{"list":7,"row":1}`)
			data(`{"row":2}`)
			data(`no JSON`)
			data(`{"large":"` + strings.Repeat("x", maxErrorData) + `"}`)
			say(&pluginpb.Report{What: &pluginpb.Report_Message{Message: "half way\xff"}})
			say(&pluginpb.Report{What: &pluginpb.Report_Error{Error: &pluginpb.Failure{Message: "odd", Kind: "input", Stack: "goroutine 7", Data: []byte(`{"row":3}`)}}})
			for range 100 {
				say(&pluginpb.Report{What: &pluginpb.Report_Message{Message: "again"}})
			}
			time.Sleep(5 * time.Second)
			for range 100 {
				say(&pluginpb.Report{What: &pluginpb.Report_Message{Message: "later"}})
			}
			return failed(&pluginpb.Failure{Message: "busy", Data: []byte(`{"n":1}`)}, 3)
		}), Options{Reports: r}, 0)
		b.push(0, 1, "mail.send")
		time.Sleep(20 * time.Second)
		b.stop()
		said := r.said()
		require.Equal(t, []string{"task false 1: half way\uFFFD", "input true 1: odd", "task false 1: again"}, said[:3])
		require.Equal(t, "error true 1 final: busy", said[len(said)-1], "what a task reports does not count against its failure")
		require.Len(t, said, reportBurst+5+1)
		require.JSONEq(t, `{"list":7,"row":2}`, string(r.all[0].Data))
		require.JSONEq(t, `{"list":7,"row":3}`, string(r.all[1].Data))
		require.Equal(t, "goroutine 7", r.all[1].Stack)
		require.JSONEq(t, `{"list":7,"row":2,"n":1}`, string(r.all[len(said)-1].Data))
	})
}

func TestErrorDataIsBounded(t *testing.T) {
	t.Parallel()
	var e errorData
	for i := range 1000 {
		e.add([]byte(fmt.Sprintf(`{"k%d":%q}`, i, strings.Repeat("x", 1000))))
	}
	require.LessOrEqual(t, len(e.with(nil)), 2*maxErrorData)
	for range 1000 { // what is replaced makes room
		e.add([]byte(fmt.Sprintf(`{"k1":%q}`, strings.Repeat("y", 900))))
	}
	require.Contains(t, string(e.with(nil)), "yyy")
	require.True(t, json.Valid(e.with([]byte(`{"own":1}`))))
	require.Contains(t, string(e.with([]byte(`{"own":1}`))), `"own":1`)
	require.Contains(t, string(e.with([]byte(`broken`))), `"k1"`)
}
