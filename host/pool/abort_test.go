package pool

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/testbin"
)

// A process that cannot answer, since its task lets nothing else run, is made to write down
// its stacks shortly before the time limit; by the limit it is dead.
func TestStacksOfTheDeaf(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{{Name: "chaos", Generation: 1, Types: []string{"spin", "ok"}, KillGrace: time.Second,
		Spec: process.Spec{Plugin: "chaos", Path: testbin.Build(t, "internal/chaosplugin"), StartTimeout: 30 * time.Second,
			Env: []string{"LEPTIR_TEST_MODE=serve", "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1"}}}})
	deaf, next := b.job("spin", nil, 4*time.Second), b.job("ok", nil, 0)
	require.NoError(t, b.Submit([]*Job{deaf, next}))
	outcomes := b.wait(2)
	o := outcomes[deaf.Task.ID]
	require.Equal(t, Died, o.Kind)
	require.Equal(t, process.ReasonTimeout, o.Exit.Reason)
	require.True(t, strings.Contains(o.Dump, "main.spin("), "%.500s", o.Dump)
	require.GreaterOrEqual(t, o.Duration, 3500*time.Millisecond)
	require.Equal(t, Ended, outcomes[next.Task.ID].Kind)
	require.Empty(t, b.Status().Plugins[0].Problem, "a time-out is not the plugin's failure")
}

// When a process is aborted depends on its limit, and on how much warning its tasks get.
func TestAbortAt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ limit, grace, want time.Duration }{
		{time.Second, time.Second, 950 * time.Millisecond},
		{time.Minute, 2 * time.Second, time.Minute - 250*time.Millisecond},
		{time.Minute, 10 * time.Millisecond, time.Minute - 10*time.Millisecond},
	} {
		require.Equal(t, tt.want, (&Job{Limit: tt.limit}).abortAt(tt.grace))
	}
	require.True(t, (&worker{grace: time.Second}).dumpless(&Job{Limit: time.Second}))
	require.False(t, (&worker{grace: time.Second}).dumpless(&Job{Limit: 100 * time.Millisecond}), "there is no time")
	require.False(t, (&worker{}).dumpless(&Job{Limit: time.Second}), "kill_grace = 0 is no warning")
	require.False(t, (&worker{grace: time.Second}).dumpless(&Job{Limit: time.Second, dump: "stacks"}), "they are there")
}

// A process that dies of its abort after its task has ended all the same is nobody's failure.
func TestAbortAfterTheEndIsNoFailure(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.SetPlugins([]Plugin{demo(t)})
	require.NoError(t, b.Submit(b.jobs(1, "demo.noop")))
	b.wait(1)
	b.call(func() { b.groups["demo"].idle[0].proc.Kill(process.ReasonTimeout, "limit 1s") })
	require.Eventually(t, func() bool { return b.Status().Plugins[0].Idle == 0 }, 20*time.Second, time.Millisecond)
	require.Empty(t, b.Status().Plugins[0].Problem)
}
