package sandbox

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A host that favours itself comes before its processes, which have the priority that it had.
func TestFavour(t *testing.T) { // not parallel: it is of the whole program
	nice := func(pid int) int {
		raw, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
		require.NoError(t, err)
		return 20 - raw
	}
	own := nice(0)
	if err := Favour(); err != nil {
		require.ErrorIs(t, err, unix.EACCES)
		require.NotZero(t, os.Geteuid(), "root may")
		require.Equal(t, own, nice(0))
		t.Skip("only who has the right to may")
	}
	t.Cleanup(func() {
		ownNice.Store(nil)
		for _, tid := range threadsOf(os.Getpid()) {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, own)
		}
	})
	for _, tid := range threadsOf(os.Getpid()) {
		require.Equal(t, max(own-favour, niceLeast), nice(tid))
	}
	s := New(Look("").WithoutGroups(), strings.ReplaceAll(uuid.NewString(), "-", ""))
	home := t.TempDir()
	c, err := s.Cell(Place{Cookie: s.Cookie("x"), Home: home, Work: home, Binary: "/bin/sh"}, Limits{})
	require.NoError(t, err)
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	require.NoError(t, c.Start(cmd.SysProcAttr, func() (int, error) {
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	}))
	require.Equal(t, own, nice(cmd.Process.Pid))
	KillGroup(cmd.Process.Pid)
	require.Equal(t, niceLeast, nice(cmd.Process.Pid), "it is to die soon")
	_ = cmd.Wait()
	c.Dead()
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	require.Equal(t, max(own-favour, niceLeast), nice(0))
}
