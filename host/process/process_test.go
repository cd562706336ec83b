package process

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/process/sandbox"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/testbin"
)

// bundle is a Launcher with what it has printed.
type bundle struct {
	*Launcher
	mu    sync.Mutex
	lines []Line
}

func (b *bundle) printed() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s strings.Builder
	for _, l := range b.lines {
		s.WriteString(l.Stream + ": " + l.Text + "\n")
	}
	return s.String()
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := NewLauncher(t.TempDir(), quiet, hclog.NewNullLogger(), func(l Line) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.lines = append(b.lines, l)
	})
	require.NoError(t, err)
	b.Launcher = l
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return b
}

// envPlugin names the plugin for tests, for those who cannot build it.
const envPlugin = "LEPTIR_TEST_CHAOSPLUGIN"

func spec(t *testing.T, mode string, env ...string) Spec {
	t.Helper()
	path := os.Getenv(envPlugin)
	if path == "" {
		path = testbin.Build(t, "internal/chaosplugin")
	}
	return Spec{Plugin: "test", Path: path, StartTimeout: 20 * time.Second,
		Env: append([]string{"LEPTIR_TEST_MODE=" + mode}, env...)}
}

func (b *bundle) start(t *testing.T, mode string, env ...string) *Process {
	t.Helper()
	p, err := b.Start(t.Context(), spec(t, mode, env...))
	require.NoError(t, err)
	return p
}

func do(t *testing.T, p *Process, types ...string) {
	t.Helper()
	m := &pluginpb.HostMessage{}
	for i, ty := range types {
		m.Tasks = append(m.Tasks, &pluginpb.Task{Id: strconv.Itoa(i), Type: ty})
	}
	require.NoError(t, p.Send(m))
}

// drain reads the stream to its end.
func drain(p *Process) {
	for {
		if _, err := p.Recv(); err != nil {
			return
		}
	}
}

func waitFor(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		require.Fail(t, "waited in vain for "+what)
	}
}

func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestRunAndRetire(t *testing.T) {
	t.Parallel()
	t.Run("by its stdin", func(t *testing.T) { testRunAndRetire(t) })
	t.Run("by its stream", func(t *testing.T) { testRunAndRetire(t, "LEPTIR_TEST_NO_LIFELINE=1") })
}

func testRunAndRetire(t *testing.T, env ...string) {
	t.Parallel()
	b := setup(t)
	p := b.start(t, "serve", env...)
	do(t, p, "ok", "ok", "stdio")
	for i := range 3 {
		m, err := p.Recv()
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(i), m.Events[0].GetResult().Id)
		require.Equal(t, []string{strconv.Itoa(p.PID())}, m.Events[0].GetResult().Response)
	}
	require.Equal(t, Progress{Kept: true, Begun: 3, Ended: 3}, p.Progress())
	require.Positive(t, p.RSS())
	require.Eventually(t, func() bool { return strings.Contains(b.printed(), "stdout: printed by a task") }, 10*time.Second, 10*time.Millisecond)
	p.Retire(10 * time.Second)
	waitFor(t, "the retired process", p.Done())
	require.Equal(t, ReasonRetired, p.Exit().Reason)
	require.Equal(t, 0, p.Exit().Code)
	require.Positive(t, p.Exit().PeakMemory)
	waitFor(t, "its remains", p.Gone())
	require.Zero(t, b.Live())
}

// Of a process that lives for a while the kernel knows that it is to die before its host where
// memory runs out; of one that has died nobody else's place is changed.
func TestMemoryRunsOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.start(t, "serve")
	require.Eventually(t, func() bool {
		score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.PID()))
		return err == nil && strings.TrimSpace(string(score)) == "500"
	}, 10*time.Second, 10*time.Millisecond)
	p.Kill(ReasonShutdown, "")
	waitFor(t, "its remains", p.Gone())
	require.False(t, p.runner.settling.Stop(), "stopped, or done, when it died")
}

// A process's death is heard of where the kernel tells it by a descriptor, and where it does not.
func TestDeath(t *testing.T) {
	t.Parallel()
	for _, descriptor := range []bool{true, false} {
		var d death
		cmd := exec.Command("sleep", "0.2")
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		if fd := d.descriptor(); descriptor {
			cmd.SysProcAttr.PidFD = fd
		}
		require.NoError(t, cmd.Start())
		began := time.Now()
		d.wait(cmd.Process.Pid)
		require.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond)
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		require.NoError(t, err)
		require.Contains(t, string(stat), ") Z ", "dead and not reaped")
		require.Equal(t, -1, d.fd)
		require.NoError(t, cmd.Wait())
		d.close() // again, which does nothing
	}
}

func TestEnvironmentIsNotHandedDown(t *testing.T) {
	t.Setenv("LEPTIR_TEST_HOST_SECRET", "swordfish")
	b := setup(t)
	p := b.start(t, "serve", "GIVEN=yes")
	d, err := p.Describe(t.Context())
	require.NoError(t, err)
	require.Contains(t, d.Version, "GIVEN=yes")
	require.NotContains(t, d.Version, "swordfish")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := spec(t, "serve")
	s.TLS = true
	p, err := b.Start(t.Context(), s)
	require.NoError(t, err)
	do(t, p, "ok")
	_, err = p.Recv()
	require.NoError(t, err)
}

func TestKillTakesTheWholeGroup(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		task string
		pids bool
	}{{"hang", false}, {"stop", false}, {"fork", true}} {
		t.Run(tt.task, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			pidFile := filepath.Join(t.TempDir(), "pid")
			p := b.start(t, "serve", "LEPTIR_TEST_PIDFILE="+pidFile)
			do(t, p, tt.task)
			require.Eventually(t, func() bool { return p.Progress().Begun == 1 }, 10*time.Second, time.Millisecond)
			var child int
			if tt.pids {
				require.Eventually(t, func() bool {
					s, _ := os.ReadFile(pidFile)
					child, _ = strconv.Atoi(string(s))
					return child > 0
				}, 10*time.Second, time.Millisecond)
				require.True(t, alive(child))
			}
			p.Kill(ReasonTimeout, "limit 1s")
			p.Kill(ReasonShutdown, "too late to be the reason")
			waitFor(t, "the end", p.Done())
			require.Equal(t, ReasonTimeout, p.Exit().Reason)
			require.Equal(t, syscall.SIGKILL, p.Exit().Signal)
			require.Equal(t, "process killed at the time limit (limit 1s)", p.Exit().String())
			require.False(t, alive(p.PID()))
			if tt.pids {
				require.Eventually(t, func() bool { return !alive(child) }, 10*time.Second, time.Millisecond)
			}
			require.True(t, p.Progress().Kept)
			require.EqualValues(t, 1, p.Progress().Begun)
			drain(p)
			waitFor(t, "its remains", p.Gone())
		})
	}
}

// A grandchild that has left the group holds stdout and stderr open; nobody may wait for it.
func TestEscapedGrandchildDelaysNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	p := b.start(t, "serve", "LEPTIR_TEST_PIDFILE="+pidFile)
	do(t, p, "setsid")
	var child int
	require.Eventually(t, func() bool {
		s, _ := os.ReadFile(pidFile)
		child, _ = strconv.Atoi(string(s))
		return child > 0
	}, 10*time.Second, time.Millisecond)
	p.Kill(ReasonTimeout, "")
	waitFor(t, "the end", p.Done())
	waitFor(t, "its remains", p.Gone())
	_ = syscall.Kill(child, syscall.SIGKILL)
}

func TestDeaths(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.start(t, "serve")
	do(t, p, "ok")
	_, err := p.Recv()
	require.NoError(t, err)
	do(t, p, "exit", "ok")
	waitFor(t, "the end", p.Done())
	require.Equal(t, ReasonExit, p.Exit().Reason)
	require.Equal(t, 9, p.Exit().Code)
	require.Equal(t, "process exited with code 9", p.Exit().String())
	require.Equal(t, []string{"last words"}, p.Exit().Output)
	require.Equal(t, Progress{Kept: true, Begun: 2, Ended: 1}, p.Progress())

	p = b.start(t, "serve")
	do(t, p, "hang")
	require.NoError(t, syscall.Kill(p.PID(), syscall.SIGQUIT))
	waitFor(t, "the end", p.Done())
	require.Contains(t, strings.Join(p.Exit().Output, "\n"), "r15", "the stack dump's end is kept")
}

// The last lines of a process that died in a task are that task's; those of one that died between
// tasks are all.
func TestLastLinesAreTheTasks(t *testing.T) {
	t.Parallel()
	for task, want := range map[string]string{"exit": "^last words$", "": "^c{512}… c"} {
		b := setup(t)
		p := b.start(t, "serve")
		do(t, p, "chatter")
		_, err := p.Recv()
		require.NoError(t, err)
		require.Eventually(t, func() bool { return strings.Count(b.printed(), "\n") >= 64 }, 20*time.Second, time.Millisecond)
		if task == "" {
			p.Kill(ReasonLimit, "")
		} else {
			do(t, p, task)
		}
		waitFor(t, "the end", p.Done())
		require.Regexp(t, want, strings.Join(p.Exit().Output, " "))
	}
}

func TestHostileOutput(t *testing.T) {
	t.Parallel()
	for _, task := range []string{"long-line", "panic-the-host", "close-stdout", "flood"} {
		t.Run(task, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			p := b.start(t, "print-first")
			do(t, p, task, "ok")
			for range 2 {
				_, err := p.Recv()
				require.NoError(t, err)
			}
			require.Eventually(t, func() bool { return strings.Contains(b.printed(), "hello before the handshake") }, 10*time.Second, time.Millisecond)
			switch task {
			case "long-line":
				require.Eventually(t, func() bool { return strings.Count(b.printed(), "(line cut)") >= 3 }, 10*time.Second, time.Millisecond)
			case "flood":
				require.Less(t, len(b.printed()), 16<<20, "a flood is not passed on")
			}
		})
	}
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	other := filepath.Join(t.TempDir(), "other.sock")
	ln, err := net.Listen("unix", other)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })

	for _, tt := range []struct{ mode, want string }{
		{"exit-at-start", `plugin "test": start: handshake: it exited with code 7 before it served; is it a leptir plugin?; its last output: cannot find the moon`},
		{"killed-at-start", `plugin "test": start: handshake: it died of SIGKILL before it served`},
		{"wrong-version", `plugin "test": start: handshake: it speaks version 99 of leptir's plugin protocol, this host speaks version 1; rebuild it with the SDK of this host's version`},
		{"wrong-core", `plugin "test": start: handshake: it speaks go-plugin's core protocol 9, this host speaks 1; rebuild it with a current SDK`},
		{"wrong-cookie", `plugin "test": start: handshake: it exited with code 1 before it served; is it a leptir plugin?; its last output: This binary is a plugin.`},
		{"tcp", `plugin "test": start: handshake: it listens on tcp, which any local process could reach; only unix sockets in its PLUGIN_UNIX_SOCKET_DIR are accepted`},
		{"netrpc", `plugin "test": start: handshake: it does not speak gRPC; only gRPC plugins are served`},
		{"foreign-socket", `is not a socket in its PLUGIN_UNIX_SOCKET_DIR`},
		{"linked-socket", `which is not of this plugin's process group`},
		{"never-handshake", `plugin "test": start: it did not come up within 1s; it must print go-plugin's handshake line and serve leptir's protocol`},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			s := spec(t, tt.mode, "LEPTIR_TEST_SOCKET="+other)
			if tt.mode == "never-handshake" {
				s.StartTimeout = time.Second
			}
			_, err := b.Start(t.Context(), s)
			var start *StartError
			require.ErrorAs(t, err, &start)
			require.ErrorContains(t, err, tt.want)
			require.Eventually(t, func() bool { return b.Live() == 0 }, 10*time.Second, time.Millisecond)
			left, err := os.ReadDir(b.runDir.path)
			require.NoError(t, err)
			require.Len(t, left, 1, "folders remain beside the lock")
		})
	}
	t.Run("no such file", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		s := spec(t, "serve")
		s.Path = "/nonexistent/mailer"
		_, err := b.Start(t.Context(), s)
		require.ErrorContains(t, err, "/nonexistent/mailer: no such file or directory")
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := b.Start(ctx, spec(t, "never-handshake"))
		require.Error(t, err)
	})
	t.Run("launcher closed", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		require.NoError(t, b.Close())
		_, err := b.Start(t.Context(), spec(t, "serve"))
		require.ErrorContains(t, err, "the host is shutting down")
	})
}

// Many starts and ends leave no descriptor, no child and (by goleak) no goroutine.
func TestNothingLeaks(t *testing.T) {
	b := setup(t)
	count := func() (fds, children int) {
		l, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		tasks, _ := filepath.Glob("/proc/self/task/*/children")
		for _, f := range tasks {
			s, _ := os.ReadFile(f)
			children += len(strings.Fields(string(s)))
		}
		return len(l), children
	}
	cycle := func(i int) {
		p := b.limited(t, sandbox.Limits{MemoryMax: 256 << 20, PidsMax: 512, NoNewPrivs: true, ProtectHost: true})
		do(t, p, "ok")
		_, err := p.Recv()
		require.NoError(t, err)
		switch i % 3 {
		case 0:
			p.Retire(time.Minute)
		case 1:
			p.Kill(ReasonTimeout, "")
		case 2:
			do(t, p, "exit")
		}
		drain(p)
		waitFor(t, "the remains", p.Gone())
	}
	for i := range 6 {
		cycle(i)
	}
	cycles := 200
	if os.Getenv("LEPTIR_FIGURES") != "" {
		cycles = 10_000 // make isolation
	}
	type state struct{ goroutines, fds, children, folders, groups, residentMiB int }
	look := func(when string) (s state) {
		s.fds, s.children = count()
		left, err := os.ReadDir(b.runDir.path)
		require.NoError(t, err)
		s.folders = len(left)
		for _, dir := range b.remains.Groups {
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if e.IsDir() {
					s.groups++
				}
			}
		}
		runtime.GC()
		s.goroutines = runtime.NumGoroutine()
		statm, _ := os.ReadFile("/proc/self/statm")
		pages, _ := strconv.Atoi(strings.Fields(string(statm))[1])
		s.residentMiB = pages * os.Getpagesize() >> 20
		t.Logf("%-19s goroutines %d, descriptors %d, children %d, folders %d, cgroups %d, resident %d MiB", when, s.goroutines, s.fds, s.children,
			s.folders, s.groups, s.residentMiB)
		return s
	}
	first := look("after 6 starts:")
	for i := range cycles {
		cycle(i)
		if (i+1)%(cycles/4) == 0 {
			look(fmt.Sprintf("after %d starts:", i+1))
		}
	}
	require.Eventually(t, func() bool {
		f, c := count()
		return f <= first.fds && c <= first.children && runtime.NumGoroutine() <= first.goroutines+2
	}, 10*time.Second, 50*time.Millisecond, "file descriptors, children or goroutines leak")
	last := look("at the end:")
	require.Equal(t, 1, last.folders, "folders remain beside the lock")
	require.Zero(t, last.groups, "cgroups remain")
	require.Less(t, last.residentMiB, first.residentMiB+64, "memory grows")
}

// What a killed host has left is removed by the next one; what a living one has is not.
func TestRunFoldersOfDeadHostsAreSwept(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dead, _, _, err := newRunDir(parent, modePrivate, sandbox.Remains{})
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dead.path, "work"), 0o700))
	living, _, _, err := newRunDir(parent, modePrivate, sandbox.Remains{})
	require.NoError(t, err)
	require.DirExists(t, dead.path)
	dead.lock.Close() // as the kernel does for a dead host
	third, _, _, err := newRunDir(parent, modePrivate, sandbox.Remains{})
	require.NoError(t, err)
	require.NoDirExists(t, dead.path)
	require.DirExists(t, living.path)
	require.NoError(t, living.remove())
	require.NoError(t, third.remove())
	require.NoDirExists(t, third.path)
}

func TestRunFolderOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	parent := filepath.Join(t.TempDir(), "open")
	require.NoError(t, os.Mkdir(parent, 0o700))
	require.NoError(t, os.Chmod(parent, 0o777))
	_, _, _, err := newRunDir(parent, modePrivate, sandbox.Remains{})
	require.ErrorContains(t, err, "only the host's user can write")
}
