package host_test

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/task"
)

// TestFreshThroughput runs no-op tasks through a whole host, each in a process of its own.
func TestFreshThroughput(t *testing.T) {
	n := 50
	if os.Getenv("LEPTIR_FIGURES") != "" {
		n = 3000 // make isolation
	}
	b := setup(t, `
logger "stderr" "console" {
  level = "error"
}
plugin "demo" {
  isolation = "fresh"
}
`)
	b.install("plugins/demo", "demo")
	tasks := many(n, "demo.noop")
	b.push(tasks...)
	h := b.host()
	var first, last time.Time
	pids := map[int]bool{}
	for _, r := range b.records(tasks, 5*time.Minute) {
		require.Equal(t, task.Success, r.RetC, "%+v", r)
		require.False(t, pids[r.Run.Process] && n < 1000, "a process has had two tasks")
		pids[r.Run.Process] = true
		if first.IsZero() || r.ExStart.Before(first) {
			first = r.ExStart
		}
		if end := r.Run.Ended; end.After(last) {
			last = end
		}
	}
	h.signal(syscall.SIGTERM)
	require.Zero(t, h.ended(30*time.Second))
	used := h.cmd.ProcessState.UserTime() + h.cmd.ProcessState.SystemTime() // the host's and its processes'
	t.Logf("fresh: %d tasks, each in a process of its own, %.0f a second, each for %.1f ms of processor time", n,
		float64(n)/last.Sub(first).Seconds(), used.Seconds()*1000/float64(n))
}
