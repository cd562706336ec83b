package rig

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProcess(t *testing.T) {
	p, err := StartProcess(t.TempDir(), []string{"SAY=hello"}, "/bin/sh", "-c", `echo "$SAY"; echo said > ready; read x < /dev/zero & wait`)
	require.NoError(t, err)
	waitReady(t, p)
	require.Contains(t, ChildrenOf(os.Getpid()), p.PID())
	u, err := UsageOf(p.PID())
	require.NoError(t, err)
	require.Positive(t, u.Resident)
	require.GreaterOrEqual(t, u.Peak, u.Resident)
	p.Kill()
	require.Equal(t, "hello\n", p.Said())
	require.Error(t, p.Stop(time.Second), "it has ended before it was asked to")
	require.False(t, slices.Contains(ChildrenOf(os.Getpid()), p.PID()))
	_, err = UsageOf(p.PID())
	require.Error(t, err)
}

func TestStop(t *testing.T) {
	p, err := StartProcess(t.TempDir(), nil, "/bin/sleep", "60")
	require.NoError(t, err)
	require.NoError(t, p.Stop(10*time.Second))

	p, err = StartProcess(t.TempDir(), nil, "/bin/sh", "-c", `trap "" TERM; echo ready > ready; while :; do sleep 1; done`)
	require.NoError(t, err)
	waitReady(t, p)
	require.ErrorContains(t, p.Stop(100*time.Millisecond), "did not end within")
}

// waitReady waits until the process has made the file "ready" in its folder.
func waitReady(t *testing.T, p *Process) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := os.Stat(p.cmd.Dir + "/ready")
		return err == nil
	}, 10*time.Second, time.Millisecond)
}

func TestUsageCountsTime(t *testing.T) {
	before, err := UsageOf(os.Getpid())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		for i := range 10_000_000 {
			_ = i * i
		}
		after, err := UsageOf(os.Getpid())
		return err == nil && after.CPU > before.CPU
	}, 20*time.Second, time.Millisecond)
}
