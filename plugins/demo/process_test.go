package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/protocol"
)

// startDemo builds the plugin, starts it in a process group of its own and opens its run
// stream.
func startDemo(t *testing.T) (*exec.Cmd, pluginpb.TaskPlugin_RunClient) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and starts the plugin")
	}
	dir, err := os.MkdirTemp("", "demo") // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "demo")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)

	cmd := exec.Command(path)
	cmd.Env = []string{protocol.CookieKey + "=" + protocol.CookieValue, "PLUGIN_PROTOCOL_VERSIONS=1", "PLUGIN_UNIX_SOCKET_DIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = lifeline.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	parts := strings.Split(strings.TrimSpace(line), "|")
	require.Len(t, parts, 6, "%s", line)
	conn, err := grpc.NewClient("unix:"+parts[3], grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	stream, err := pluginpb.NewTaskPluginClient(conn).Run(context.Background())
	require.NoError(t, err)
	return cmd, stream
}

func run(t *testing.T, s pluginpb.TaskPlugin_RunClient, typ, params string) {
	t.Helper()
	require.NoError(t, s.Send(&pluginpb.HostMessage{Tasks: []*pluginpb.Task{{Id: "a", Type: typ, Params: []byte(params)}}}))
}

func TestCrashDiesBySignal(t *testing.T) {
	t.Parallel()
	cmd, stream := startDemo(t)
	run(t, stream, "demo.crash", "")
	for {
		m, err := stream.Recv()
		if err != nil {
			break
		}
		for _, e := range m.Events {
			require.Nil(t, e.GetResult(), "%v", e.GetResult())
		}
	}
	_ = cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, status.Signaled(), "exit code %d", status.ExitStatus())
	if runtime.GOOS == "linux" {
		require.Equal(t, syscall.SIGSEGV, status.Signal())
	}
}

func TestSpinListensToNobody(t *testing.T) {
	t.Parallel()
	cmd, stream := startDemo(t)
	pids := filepath.Join(t.TempDir(), "pids")
	run(t, stream, "demo.spin", fmt.Sprintf(`{"pid_file":%q,"seconds":60}`, pids))
	m, err := stream.Recv()
	require.NoError(t, err)
	log := m.Events[0].GetLog()
	require.NotNil(t, log)

	var text []byte
	require.Eventually(t, func() bool {
		text, err = os.ReadFile(pids)
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	var parent, child int
	_, err = fmt.Sscan(string(text), &parent, &child)
	require.NoError(t, err)
	require.Equal(t, cmd.Process.Pid, parent)
	require.JSONEq(t, fmt.Sprintf(`{"pid":%d,"child":%d}`, parent, child), string(log.Attrs))

	// A cancelled context and SIGTERM change nothing; the stacks can still be had.
	require.NoError(t, stream.Send(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: "a", Reason: "time limit", Dump: true}}))
	for _, pid := range []int{parent, child} {
		require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	}
	m, err = stream.Recv()
	require.NoError(t, err)
	require.Contains(t, string(m.Events[0].GetDump().GetText()), "main.spinFor")
	for _, pid := range []int{parent, child} {
		require.False(t, gone(pid), "%d has ended", pid)
	}

	// Only the kill of the group ends both.
	require.NoError(t, syscall.Kill(-parent, syscall.SIGKILL))
	_, err = stream.Recv()
	require.Error(t, err)
	_ = cmd.Wait()
	require.Eventually(t, func() bool { return gone(child) }, 10*time.Second, 5*time.Millisecond)
}

// gone reports whether the process has ended; an orphan may wait a moment for its reaper.
func gone(pid int) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}
