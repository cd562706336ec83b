package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/backplane/leptir/host/pidfile"
	"github.com/backplane/leptir/internal/testbin"
)

// site is a folder with a configuration and a plugin, and the programs that work on it.
type site struct {
	t      *testing.T
	dir    string
	config string
	log    string
	pid    string // the pid file in the state folder
}

const fileLogger = `
logger "file" "main" {
  path   = "leptir.log"
  format = "json"
}
`

func newSite(t *testing.T, source string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, dir: dir, config: filepath.Join(dir, "leptir.hcl"), log: filepath.Join(dir, "leptir.log"),
		pid: filepath.Join(dir, "var", "leptir", "leptir-host.pid")}
	s.write(source)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "plugins"), 0o700))
	data, err := os.ReadFile(testbin.Build(t, "plugins/demo"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "plugins", "demo"), data, 0o700))
	return s
}

func (s *site) write(source string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(s.config, []byte(source), 0o600))
}

// command prepares a program that ends with the test.
func (s *site) command(program string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	s.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, testbin.Build(s.t, "cmd/"+program), args...)
	cmd.Dir, cmd.WaitDelay = s.dir, time.Second
	return cmd
}

// run runs a program to its end and returns what it has printed, and its exit code.
func (s *site) run(program string, args ...string) (string, int) {
	s.t.Helper()
	cmd := s.command(program, args...)
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// ctl runs leptirctl, which must succeed.
func (s *site) ctl(args ...string) string {
	s.t.Helper()
	out, code := s.run("leptirctl", args...)
	require.Zero(s.t, code, "leptirctl %v: %s", args, out)
	return out
}

// background starts a host in the background and ends it with the test.
func (s *site) background(args ...string) pidfile.Identity {
	s.t.Helper()
	out, code := s.run("leptir-host", append([]string{"-daemon"}, args...)...)
	require.Zero(s.t, code, out)
	s.t.Cleanup(func() {
		if id, err := pidfile.Read(s.pid); err == nil { // most have ended
			_ = id.Signal(syscall.SIGKILL)
			_ = id.Wait(context.Background())
		}
		if s.t.Failed() {
			s.t.Logf("the host's log:\n%s", s.logged())
		}
	})
	var pid int
	_, err := fmt.Sscanf(out[strings.Index(out, "leptir-host runs"):], "leptir-host runs in the background, as process %d", &pid)
	require.NoError(s.t, err, out)
	id, err := pidfile.Read(s.pid)
	require.NoError(s.t, err)
	require.Equal(s.t, pid, id.PID)
	return id
}

func (s *site) logged() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// lines returns the lines of the log with that message.
func (s *site) lines(message string) (all []map[string]any) {
	s.t.Helper()
	for line := range strings.Lines(s.logged()) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == message {
			all = append(all, m)
		}
	}
	return all
}

func (s *site) eventually(f func() bool, what string) {
	s.t.Helper()
	for end := time.Now().Add(60 * time.Second); !f(); time.Sleep(5 * time.Millisecond) { // f may fail the test: not in another goroutine
		require.True(s.t, time.Now().Before(end), what)
	}
}

func TestDaemon(t *testing.T) {
	t.Parallel()
	s := newSite(t, fileLogger+"logger \"stderr\" \"console\" {}\n")
	out, code := s.run("leptirctl", "running")
	require.Equal(t, 1, code)
	require.Contains(t, out, "no host runs here: there is no pid file "+s.pid)

	id := s.background("-pid", "own.pid")
	sid, err := unix.Getsid(id.PID)
	require.NoError(t, err)
	require.Equal(t, id.PID, sid, "it has a session of its own")
	for fd, want := range map[string]string{"0": "/dev/null", "1": filepath.Join(s.dir, "var/leptir/leptir-host.stderr"), "2": filepath.Join(s.dir, "var/leptir/leptir-host.stderr")} {
		got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", id.PID, fd))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", id.PID))
	require.NoError(t, err)
	require.Equal(t, "/", cwd)
	require.Contains(t, s.ctl("running"), fmt.Sprintf("process %d runs since ", id.PID))
	own := filepath.Join(s.dir, "own.pid")
	other, err := pidfile.Read(own)
	require.NoError(t, err)
	require.Equal(t, id, other, "it has the pid file that was asked for, and the usual one")

	// A task's lines say whose they are.
	task := strings.TrimSpace(s.ctl("push", "demo.test", "-p", "to=ann"))
	s.ctl("task", "-wait", task)
	s.eventually(func() bool { return len(s.lines("test task runs")) == 1 }, "the task's line")
	line := s.lines("test task runs")[0]
	require.Equal(t, task, line["task"])
	require.Equal(t, "demo.test", line["type"])
	require.EqualValues(t, 1, line["attempt"])
	require.Equal(t, "demo", line["plugin"])
	require.NotZero(t, line["worker"])
	require.NotEqual(t, float64(id.PID), line["worker"])

	// There is one host at a time.
	for _, args := range [][]string{{"-daemon"}, {"-daemon", "-pid", "own.pid"}, {"-pid", own}} {
		out, code := s.run("leptir-host", args...)
		require.Equal(t, 1, code, out)
		require.Contains(t, out, fmt.Sprintf("leptir-host: the host runs already, as process %d (pid file ", id.PID))
		require.Contains(t, out, "stop it with: leptirctl stop -pid ")
	}

	require.Contains(t, s.ctl("stop", "-pid", "own.pid"), "stopped after ")
	running, err := id.Running()
	require.NoError(t, err)
	require.False(t, running)
	for _, path := range []string{own, s.pid, filepath.Join(s.dir, "own.status"), filepath.Join(s.dir, "var/leptir/leptir-host.status")} {
		require.NoFileExists(t, path)
	}
	require.Len(t, s.lines("stopped"), 1)
	printed, err := os.ReadFile(filepath.Join(s.dir, "var/leptir/leptir-host.stderr"))
	require.NoError(t, err)
	require.Empty(t, string(printed), "only files are logged to")
}

// What a host that does not come up has to say is printed, and nothing is left of it.
func TestDaemonFails(t *testing.T) {
	t.Parallel()
	s := newSite(t, fileLogger+"host {\n  number_of_workers = \"many\"\n}\n")
	out, code := s.run("leptir-host", "-daemon")
	require.Equal(t, 1, code)
	require.Contains(t, out, "error: ")
	require.Contains(t, out, "number_of_workers")

	s.write(fileLogger + "host {\n  plugin_dir = \"nowhere\"\n}\n")
	out, code = s.run("leptir-host", "-daemon", "-pid", "own.pid")
	require.Equal(t, 1, code)
	require.Contains(t, out, "nowhere")
	require.NoFileExists(t, s.pid)
	require.NoFileExists(t, filepath.Join(s.dir, "own.pid"))
	require.Len(t, s.lines("the host cannot start"), 1, "those who look there find it, too")

	s.write(fileLogger)
	out, code = s.run("leptir-host", "-daemon", "-pid", "no/such/folder/own.pid")
	require.Equal(t, 1, code)
	require.Contains(t, out, "no such file or directory")
	out, code = s.run("leptir-host", "-daemon", "extra")
	require.Equal(t, 2, code)
	require.Contains(t, out, `unexpected argument "extra"`)
}

// A host in the background that would log nothing says so.
func TestDaemonWithoutLog(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	out, code := s.run("leptir-host", "-daemon")
	require.Zero(t, code, out)
	require.Contains(t, out, "warning: a host in the background logs to no terminal")
	require.Contains(t, s.ctl("stop"), "stopped")
}

func TestStalePidFile(t *testing.T) {
	t.Parallel()
	s := newSite(t, fileLogger)
	id := s.background("-pid", "own.pid")
	require.NoError(t, id.Signal(syscall.SIGKILL))
	require.NoError(t, id.Wait(t.Context()))
	out, code := s.run("leptirctl", "stop")
	require.Equal(t, 1, code)
	require.Contains(t, out, fmt.Sprintf("no host runs here: the pid file %s was left by process %d, which has ended", s.pid, id.PID))

	next := s.background("-pid", "own.pid")
	require.NotEqual(t, id, next)
	require.Contains(t, s.logged(), fmt.Sprintf("the pid file %s was left by process %d, which does not run any more", s.pid, id.PID))
	s.ctl("stop")
}

// stdout collects what a program prints while it runs.
type stdout struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *stdout) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *stdout) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func TestStopWaitsForTasks(t *testing.T) {
	t.Parallel()
	s := newSite(t, fileLogger)
	s.background()
	task := strings.TrimSpace(s.ctl("push", "demo.sleep", "-p", "seconds=3"))
	s.eventually(func() bool { return strings.Contains(s.ctl("task", task, "-json"), `"status":2`) }, "the task runs")

	out, code := s.run("leptirctl", "stop", "-timeout", "0.5")
	require.Equal(t, 1, code)
	require.Contains(t, out, "stopping process ")
	require.Contains(t, out, "waiting for 1 running task (")
	require.Contains(t, out, "the host has not ended within 500ms, 1 running task left; it goes on stopping")
	out, code = s.run("leptirctl", "reload")
	require.Equal(t, 1, code)
	require.Contains(t, out, "is stopping")
	out = s.ctl("stop")
	require.Contains(t, out, "is stopping already")
	require.Contains(t, out, "stopped after ")
	require.Contains(t, s.ctl("task", task, "-json"), `"retC":1`, "who asks twice kills nothing")
}

func TestStopNow(t *testing.T) {
	t.Parallel()
	s := newSite(t, fileLogger)
	s.background()
	task := strings.TrimSpace(s.ctl("push", "demo.sleep", "-p", "seconds=60"))
	s.eventually(func() bool { return strings.Contains(s.ctl("task", task, "-json"), `"status":2`) }, "the task runs")
	out := s.ctl("stop", "-now")
	require.Contains(t, out, "running tasks are killed and given back")
	require.Contains(t, out, "stopped after ")
	shown := s.ctl("task", task, "-json")
	require.Contains(t, shown, `"status":1`)
	require.Contains(t, shown, "the attempt does not count")
}

func TestReload(t *testing.T) {
	t.Parallel()
	s := newSite(t, fileLogger+"logger \"stderr\" \"console\" {}\n")
	id := s.background()
	require.Equal(t, "nothing has changed\n", s.ctl("reload"))

	// What can be changed is, the rest is named.
	other := "\nlogger \"file\" \"other\" {\n  path = \"other.log\"\n}\n"
	s.write(fileLogger + other + "host {\n  number_of_workers = 2\n  lease_time = 60\n}\nplugin \"demo\" {\n  max_tasks = 7\n}\n")
	require.Equal(t, `host: number_of_workers: 4 → 2
logger "file" "other" added
plugin "demo" added
logger "stderr" "console" removed
needs a restart: host: lease_time: "30s" → "1m"
`, s.ctl("reload"))
	s.ctl("task", "-wait", strings.TrimSpace(s.ctl("push", "demo.test")))
	s.eventually(func() bool {
		text, _ := os.ReadFile(filepath.Join(s.dir, "other.log"))
		return strings.Contains(string(text), "test task runs")
	}, "the new logger's lines")

	// A configuration that is not valid changes nothing, and what is wrong with it is shown.
	s.write(fileLogger + "host {\n  number_of_wokers = 9\n}\n")
	out, code := s.run("leptirctl", "reload", "-pid", s.pid)
	require.Equal(t, 1, code)
	require.Contains(t, out, `host has no attribute "number_of_wokers"; did you mean "number_of_workers"?`)
	require.Contains(t, out, "\n    7 |   number_of_wokers = 9\n      |   ^^^^^^^^^^^^^^^^\n")
	require.Contains(t, out, "the host goes on as it was")
	out, code = s.run("leptirctl", "reload")
	require.Equal(t, 1, code)
	require.Contains(t, out, "number_of_wokers")
	s.write(fileLogger + "logger \"file\" \"bad\" {\n  path = \"plugins\"\n}\n")
	out, code = s.run("leptirctl", "reload")
	require.Equal(t, 1, code)
	require.Contains(t, out, "is a directory")
	s.ctl("task", "-wait", strings.TrimSpace(s.ctl("push", "demo.test")))

	// logrotate has moved the file away.
	require.NoError(t, os.Rename(s.log, s.log+"-20261123"))
	s.write(fileLogger)
	require.NoError(t, id.Signal(syscall.SIGHUP))
	s.eventually(func() bool { _, err := os.Stat(s.log); return err == nil }, "the file is opened anew")
	require.Contains(t, s.ctl("reload"), "nothing has changed")
	require.Contains(t, s.ctl("stop", "-pid", s.pid), "stopped")
	require.Len(t, s.lines("stopped"), 1)
	text, err := os.ReadFile(s.log + "-20261123")
	require.NoError(t, err)
	require.NotContains(t, string(text), `"stopped"`)
}

// Two hosts in the foreground may share a folder; only one of them is found without being
// named.
func TestTwoHostsInTheForeground(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	start := func(args ...string) (*exec.Cmd, *stdout) {
		var out stdout
		cmd := s.command("leptir-host", args...)
		cmd.Stderr = &out
		require.NoError(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		s.eventually(func() bool { return strings.Contains(out.String(), "leptir-host is running") }, "the host is up")
		return cmd, &out
	}
	first, _ := start()
	second, out := start("-pid", "second.pid")
	require.Contains(t, out.String(), fmt.Sprintf("the pid file in the state folder is that of another host, process %d", first.Process.Pid))
	s.ctl("stop", "-pid", "second.pid")
	require.NoError(t, second.Wait())
	require.Contains(t, s.ctl("running"), strconv.Itoa(first.Process.Pid))
	s.ctl("stop")
	require.NoError(t, first.Wait())
	require.NoFileExists(t, s.pid)
}
