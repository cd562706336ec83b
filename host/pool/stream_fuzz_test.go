package pool

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/task"
)

// FuzzStream takes in whatever a hostile plugin sends: every job has one end at most, in the
// order in which they were handed out, and none is lost.
func FuzzStream(f *testing.F) {
	seed := func(recalled bool, messages ...*pluginpb.PluginMessage) {
		var all pluginpb.PluginMessage
		for _, m := range messages {
			all.Events = append(all.Events, m.Events...)
		}
		b, err := proto.Marshal(&all)
		require.NoError(f, err)
		f.Add(b, recalled)
	}
	one := func(e *pluginpb.Event) *pluginpb.PluginMessage {
		return &pluginpb.PluginMessage{Events: []*pluginpb.Event{e}}
	}
	result := func(id string) *pluginpb.PluginMessage {
		return one(&pluginpb.Event{Kind: &pluginpb.Event_Result{Result: &pluginpb.Result{Id: id, ReturnCode: 1, Response: []string{"x"}}}})
	}
	back := func(ids ...string) *pluginpb.PluginMessage {
		return one(&pluginpb.Event{Kind: &pluginpb.Event_Recalled{Recalled: &pluginpb.Recalled{Ids: ids}}})
	}
	seed(false, result("a"), result("b"), result("c"))
	seed(false, result("b"))
	seed(false, result("a"), result("a"))
	seed(true, back("b", "c"), result("a"))
	seed(true, back("c", "b"))
	seed(true, back("a", "b", "c", "d"))
	seed(true, result("a"), back("c"), result("b"), back())
	seed(false, back())
	seed(false, &pluginpb.PluginMessage{Events: []*pluginpb.Event{
		{}, nil, {Kind: &pluginpb.Event_Log{Log: &pluginpb.Log{Id: "a", Level: -8, Message: "m", Attrs: []byte("{")}}},
		{Kind: &pluginpb.Event_State{State: &pluginpb.State{Id: "b", State: 3}}},
		{Kind: &pluginpb.Event_Progress{Progress: &pluginpb.Progress{Id: "c", Fraction: 1e300}}},
		{Kind: &pluginpb.Event_Push{Push: &pluginpb.Push{Id: "a", Seq: 1, Task: &pluginpb.Task{Type: "t"}}}},
		{Kind: &pluginpb.Event_Push{Push: &pluginpb.Push{Id: "z"}}},
		{Kind: &pluginpb.Event_Dump{Dump: &pluginpb.Dump{Id: "a", Text: []byte("stack")}}},
		{Kind: &pluginpb.Event_Report{Report: &pluginpb.Report{Id: "a"}}},
		{Kind: &pluginpb.Event_Result{}}}})

	proc := deadProcess(f)
	f.Fuzz(func(t *testing.T, b []byte, recalled bool) {
		var m pluginpb.PluginMessage
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		w, handed := workerOf(t, proc, "a", "b", "c")
		w.recalled = recalled
		ev := w.take(&m, time.Now())
		var ended []*Job
		for _, o := range ev.outcomes {
			require.Equal(t, Ended, o.Kind)
			require.NotNil(t, o.Result)
			ended = append(ended, o.Job)
		}
		all := append(append(ended, w.window...), ev.requeue...)
		require.Equal(t, len(handed), len(all))
		for i, j := range handed {
			require.Same(t, j, all[i])
			require.LessOrEqual(t, len(j.dump), maxDump)
		}
		if len(ev.requeue) > 0 {
			require.True(t, recalled && ev.recalled)
		}
		require.LessOrEqual(t, len(w.replies), len(m.GetEvents()))
	})
}

// deadProcess returns a real process, but a dead one: it can be killed again and again.
func deadProcess(t testing.TB) *process.Process {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := process.NewLauncher(t.TempDir(), quiet, hclog.NewNullLogger(), func(process.Line) {})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	proc, err := l.Start(t.Context(), process.Spec{Plugin: "demo", Path: testbin.Build(t, "plugins/demo")})
	require.NoError(t, err)
	proc.Kill(process.ReasonRetired, "")
	for err == nil {
		_, err = proc.Recv()
	}
	<-proc.Gone()
	return proc
}

// workerOf returns a worker without a pool's loop that has been handed jobs just now.
func workerOf(t testing.TB, proc *process.Process, ids ...task.ID) (w *worker, handed []*Job) {
	w = &worker{pool: &Pool{observer: &bundle{t: t}}, proc: proc, plugin: "demo",
		outbox: make(chan *pluginpb.HostMessage, 8), answers: make(chan struct{}, 1)}
	w.timer = time.AfterFunc(time.Hour, w.watch)
	t.Cleanup(func() { w.timer.Stop() })
	for i, id := range ids {
		handed = append(handed, &Job{Task: task.Task{ID: id, Type: "demo.noop"}, Limit: time.Hour, seq: uint64(i + 1)})
	}
	w.window = append(w.window, handed...)
	w.headSince = time.Now()
	return w, handed
}

// A result can have waited in its process. When its task ended is the plugin's word, as far as it
// can be believed.
func TestWhenTasksEnded(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	type span struct{ began, took time.Duration }
	proc := deadProcess(t)
	for name, c := range map[string]struct {
		told []span
		want []span
		next time.Duration // when the next task began
	}{
		"one":                          {[]span{{ms, 2 * ms}}, []span{{0, 3 * ms}}, 3 * ms},
		"one after the other":          {[]span{{0, 2 * ms}, {2 * ms, 3 * ms}, {5 * ms, 4 * ms}}, []span{{0, 2 * ms}, {2 * ms, 3 * ms}, {5 * ms, 4 * ms}}, 9 * ms},
		"with time between them":       {[]span{{ms, ms}, {4 * ms, ms}}, []span{{0, 2 * ms}, {2 * ms, 3 * ms}}, 5 * ms},
		"nobody has taken longer":      {[]span{{0, time.Hour}, {ms, ms}}, []span{{0, 10 * ms}, {10 * ms, 0}}, 10 * ms},
		"nor ended later":              {[]span{{time.Hour, ms}, {ms, ms}}, []span{{0, 10 * ms}, {10 * ms, 0}}, 10 * ms},
		"nor less than nothing":        {[]span{{5 * ms, -7 * ms}, {5 * ms, ms}}, []span{{0, 0}, {0, 6 * ms}}, 6 * ms},
		"nor before it was handed":     {[]span{{-time.Hour, ms}, {5 * ms, ms}}, []span{{0, 0}, {0, 6 * ms}}, 6 * ms},
		"what is not told is measured": {[]span{{}, {ms, ms}}, []span{{0, 10 * ms}, {10 * ms, 0}}, 10 * ms},
		"nor what cannot be":           {[]span{{ms, 1<<63 - 1}}, []span{{0, 10 * ms}}, 10 * ms},
	} {
		ids := []task.ID{"a", "b", "c"}[:len(c.told)]
		w, _ := workerOf(t, proc, ids...)
		begin := w.headSince
		m := &pluginpb.PluginMessage{}
		for i, s := range c.told {
			r := &pluginpb.Result{Id: string(ids[i]), Duration: int64(s.took)}
			if s != (span{}) || i > 0 || len(c.told) > 2 {
				r.Started = begin.Add(s.began).UnixNano()
			}
			m.Events = append(m.Events, &pluginpb.Event{Kind: &pluginpb.Event_Result{Result: r}})
		}
		var got []span
		for _, o := range w.take(m, begin.Add(10*ms)).outcomes {
			got = append(got, span{o.Started.Sub(begin), o.Duration})
		}
		require.Equal(t, c.want, got, name)
		require.Equal(t, c.next, w.headSince.Sub(begin), name)
	}
}
