package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// envMain makes the test binary be the program.
const envMain = "TORTURE_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(envMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The short form of the torture, on every broker at the same time.
func TestTorture(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-short", "-broker", "all", "-seed", "1")
	cmd.Env = append(os.Environ(), envMain+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	late := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer late.Stop()
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
}
