package daemon_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// manager is a service manager's end of the notification socket.
type manager struct {
	t    *testing.T
	path string
	conn *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // t.TempDir can be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &manager{t: t, path: filepath.Join(dir, "s")}
	m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { m.conn.Close() })
	return m
}

// next returns the next message but for signs of life, and how many of those came before.
func (m *manager) next() (message string, alive int) {
	m.t.Helper()
	b := make([]byte, 4096)
	for {
		require.NoError(m.t, m.conn.SetReadDeadline(time.Now().Add(60*time.Second)))
		n, err := m.conn.Read(b)
		require.NoError(m.t, err)
		if string(b[:n]) != "WATCHDOG=1" {
			return string(b[:n]), alive
		}
		alive++
	}
}

// TestServiceManager follows what a service manager is told from start to end.
func TestServiceManager(t *testing.T) {
	t.Parallel()
	s := newSite(t, fileLogger)
	m := newManager(t)
	cmd := s.command("leptir-host")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=300000")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	message, _ := m.next()
	require.Equal(t, "READY=1\nSTATUS=running tasks, up to 4 at once", message)

	task := strings.TrimSpace(s.ctl("push", "demo.sleep", "-p", "seconds=2"))
	s.eventually(func() bool { return strings.Contains(s.ctl("task", task, "-json"), `"status":2`) }, "the task runs")
	s.write(fileLogger + "host {\n  number_of_workers = 7\n}\n")
	s.ctl("reload")
	message, alive := m.next()
	require.Regexp(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`, message)
	require.Positive(t, alive)
	message, _ = m.next()
	require.Equal(t, "READY=1\nSTATUS=running tasks, up to 7 at once", message)

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	said := map[string]bool{}
	for message != "EXTEND_TIMEOUT_USEC=15000000" {
		message, _ = m.next()
		said[message] = true
	}
	require.True(t, said["STOPPING=1"])
	require.True(t, said["STATUS=stopping, 1 tasks still run"])
	require.NoError(t, cmd.Wait())
}

// A host that is stopped in its tracks gives no sign of life: nothing but the host's own
// work does.
func TestNoSignOfLife(t *testing.T) {
	t.Parallel()
	s := newSite(t, fileLogger)
	m := newManager(t)
	cmd := s.command("leptir-host")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=100000")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	message, _ := m.next()
	require.Contains(t, message, "READY=1")
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	s.eventually(func() bool { // what was on its way
		require.NoError(t, m.conn.SetReadDeadline(time.Now().Add(time.Second)))
		_, err := m.conn.Read(make([]byte, 100))
		return err != nil
	}, "signs of life go on")
}

// TestStalledStderr runs a host whose standard error output nobody reads, at the level
// debug: tasks are run all the same, and its last words arrive with whoever reads late.
func TestStalledStderr(t *testing.T) {
	t.Parallel()
	s := newSite(t, "logger \"stderr\" \"console\" {\n  level = \"debug\"\n}\n")
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	cmd := s.command("leptir-host")
	cmd.Stderr = w
	require.NoError(t, cmd.Start())
	w.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var last string
	for range 4 { // 2000 lines are more than a pipe holds
		out := s.ctl("push", "demo.test", "-number", "500", "-p", "text="+strings.Repeat("x", 100))
		ids := strings.Fields(out)
		last = ids[len(ids)-1]
	}
	s.ctl("task", "-wait", "-timeout", "60", last)
	s.eventually(func() bool { return strings.Contains(s.ctl("status", "-json"), `"ready": 0`) }, "all tasks have run")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	lines, final := 0, ""
	for scanner := bufio.NewScanner(r); scanner.Scan(); lines++ {
		final = scanner.Text()
	}
	require.NoError(t, cmd.Wait())
	require.Contains(t, final, "INFO  stopped")
	require.Greater(t, lines, 600, "more than a pipe holds")
}

// Whoever reads its log may go away: the host works and ends as if nobody had.
func TestLogReaderGoesAway(t *testing.T) {
	t.Parallel()
	s := newSite(t, "logger \"stderr\" \"console\" {\n  level = \"debug\"\n}\n")
	r, w, err := os.Pipe()
	require.NoError(t, err)
	cmd := s.command("leptir-host")
	cmd.Stderr = w
	require.NoError(t, cmd.Start())
	w.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for scanner := bufio.NewScanner(r); scanner.Scan() && !strings.Contains(scanner.Text(), "leptir-host is running"); {
	}
	require.NoError(t, r.Close())
	s.ctl("task", "-wait", strings.TrimSpace(s.ctl("push", "demo.test")))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
}

// A host that ends with an error says so in its log, whose last line is not lost.
func TestErrorBeforeTheExit(t *testing.T) {
	t.Parallel()
	s := newSite(t, fmt.Sprintf(`
broker "redis" "there" {
  on_start_failure = "wait"
  connection {
    port = 1
  }
}
logger "stderr" "console" {
  level  = "error"
  format = "json"
}
host {
  plugin_dir = %q
}
`, "nowhere"))
	out, code := s.run("leptir-host")
	require.Equal(t, 1, code)
	require.Contains(t, out, `"level":"ERROR","msg":"cannot be reached at the start`)
	require.Contains(t, out, "leptir-host: plugin folder")
}
