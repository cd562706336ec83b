package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/process/sandbox"
	"github.com/backplane/leptir/internal/testbin"
)

// machine is what the tests run on, its groups made beside those of who runs the tests.
func machine(t *testing.T) *sandbox.Machine {
	t.Helper()
	return sandbox.Look(cgroupParent())
}

// cgroupParent returns a name that keeps the groups of a test apart from those of what runs
// the tests. requireNoGroups removes it.
func cgroupParent() string {
	if os.Geteuid() == 0 && os.Getenv("LEPTIR_TEST_OWN_GROUP") == "" { // or this program's group is to be used
		return "/leptir-test-" + uuid.NewString()[:8]
	}
	return ""
}

// requireNoGroups checks that a run has left no cgroup, and removes the parents of a test.
func requireNoGroups(t testing.TB, r sandbox.Remains) {
	t.Helper()
	for _, dir := range r.Groups {
		require.NoDirExists(t, dir, "a cgroup remains")
		if parent := filepath.Dir(dir); strings.HasPrefix(filepath.Base(parent), "leptir-test-") {
			_ = os.Remove(parent) // where it was made
		}
	}
}

func setupOn(t *testing.T, m *sandbox.Machine) *bundle {
	t.Helper()
	b := &bundle{}
	l, err := NewLauncher(t.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil)), hclog.NewNullLogger(), func(l Line) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.lines = append(b.lines, l)
	}, OnMachine(m))
	require.NoError(t, err)
	b.Launcher = l
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		requireNoGroups(t, l.remains)
	})
	return b
}

// limited starts a process that is held to limits.
func (b *bundle) limited(t *testing.T, l sandbox.Limits, env ...string) *Process {
	t.Helper()
	s := spec(t, "serve", env...)
	s.Limits = l
	p, err := b.Start(t.Context(), s)
	require.NoError(t, err)
	return p
}

// says waits until the process has printed something that begins so, and returns the line.
func (b *bundle) says(t *testing.T, prefix string) (line string) {
	t.Helper()
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, l := range b.lines {
			if strings.HasPrefix(l.Text, prefix) {
				line = l.Text
				return true
			}
		}
		return false
	}, 20*time.Second, 5*time.Millisecond, "it does not say %q", prefix)
	return line
}

// needs skips a test of what this machine cannot enforce in the kernel.
func needs(t *testing.T, m *sandbox.Machine, l sandbox.Limits) {
	t.Helper()
	if gaps := m.Gaps(l); len(gaps) > 0 {
		t.Skip(gaps[0])
	}
}

// sampledOnly is a machine that has no cgroups, whatever this one has.
func sampledOnly(t *testing.T) *sandbox.Machine {
	return machine(t).WithoutGroups()
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	limits := sandbox.Limits{MemoryMax: 96 << 20}
	for _, task := range []string{"eat", "eat-as-child"} {
		for name, m := range map[string]*sandbox.Machine{"kernel": machine(t), "sampled": sampledOnly(t)} {
			t.Run(task+" "+name, func(t *testing.T) {
				t.Parallel()
				if name == "kernel" {
					needs(t, m, limits)
				}
				b := setupOn(t, m)
				p := b.limited(t, limits)
				do(t, p, task)
				waitFor(t, "the end", p.Done())
				e := p.Exit()
				require.Equal(t, ReasonMemory, e.Reason, "%+v", e)
				require.Regexp(t, `^memory limit 96 MiB exceeded, peak [0-9.]+ [MG]iB$`, e.String())
				require.GreaterOrEqual(t, e.PeakMemory, int64(90<<20))
				drain(p)
				waitFor(t, "its remains", p.Gone())
			})
		}
	}
}

// A start that fails at a limit says so.
func TestLimitAtStart(t *testing.T) {
	t.Parallel()
	limits := sandbox.Limits{MemoryMax: 32 << 20}
	m := machine(t)
	needs(t, m, limits)
	b := setupOn(t, m)
	s := spec(t, "eat")
	s.Limits = limits
	_, err := b.Start(t.Context(), s)
	require.ErrorContains(t, err, "handshake: memory limit 32 MiB exceeded, peak 32 MiB before it served")
}

func TestForkBomb(t *testing.T) {
	t.Parallel()
	limits := sandbox.Limits{PidsMax: 64}
	for name, m := range map[string]*sandbox.Machine{"kernel": machine(t), "sampled": sampledOnly(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "kernel" {
				needs(t, m, limits)
			}
			b := setupOn(t, m)
			p := b.limited(t, limits)
			do(t, p, "fork-bomb")
			waitFor(t, "the end", p.Done())
			require.Equal(t, ReasonLimit, p.Exit().Reason, "%+v", p.Exit())
			require.Contains(t, p.Exit().String(), "limit of 64 processes and threads")
			drain(p)
			waitFor(t, "its remains", p.Gone())
			requireNothingOf(t, b)
		})
	}
}

// requireNothingOf waits until no process of a Launcher exists, not even a dead one.
func requireNothingOf(t *testing.T, b *bundle) {
	t.Helper()
	require.Eventually(t, func() bool { return len(membersOf(b.remains.Run)) == 0 }, 10*time.Second, 5*time.Millisecond,
		"processes remain")
}

// membersOf returns the processes that have a run's cookie.
func membersOf(run string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), run) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// cpuLimits runs a test with each of the ways that the processor can be limited by.
func cpuLimits(t *testing.T, cores float64, test func(*testing.T, *bundle, sandbox.Limits)) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		machine *sandbox.Machine
		limits  sandbox.Limits
	}{
		{"stopped by the host", machine(t), sandbox.Limits{CPUMax: cores}},
		{"quota", machine(t), sandbox.Limits{CPUMax: cores, Strict: true}},
		{"no version 2", machine(t).WithoutVersion2(), sandbox.Limits{CPUMax: cores}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			needs(t, tt.machine, tt.limits)
			test(t, setupOn(t, tt.machine), tt.limits)
		})
	}
}

func TestCPULimit(t *testing.T) {
	cpuLimits(t, 0.2, func(t *testing.T, b *bundle, limits sandbox.Limits) {
		p := b.limited(t, limits)
		do(t, p, "burn") // four goroutines for a second
		var ms int
		_, err := fmt.Sscanf(b.says(t, "burnt"), "burnt %d ms", &ms)
		require.NoError(t, err)
		require.Less(t, ms, 700, "a fifth of a core gives 200 ms in a second, and some more while it is stopped late")
		waitFor(t, "the end", p.Done())
	})
}

// The limit is one of all that a process has started.
func TestCPULimitOfChildren(t *testing.T) {
	cpuLimits(t, 0.2, func(t *testing.T, b *bundle, limits sandbox.Limits) {
		pidFile := filepath.Join(t.TempDir(), "pid")
		p := b.limited(t, limits, "LEPTIR_TEST_PIDFILE="+pidFile)
		began := time.Now()
		do(t, p, "burn-as-child")
		time.Sleep(2 * time.Second)
		pid, err := os.ReadFile(pidFile)
		require.NoError(t, err)
		child, err := strconv.Atoi(string(pid))
		require.NoError(t, err)
		cpu := userTime(child)
		require.Less(t, cpu, 400*time.Millisecond+time.Since(began)/4)
		require.Positive(t, cpu)
		p.Kill(ReasonTimeout, "")
		waitFor(t, "the end", p.Done())
	})
}

// userTime is how long a process has computed so far; 0 is unknown.
func userTime(pid int) time.Duration {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(after)
	if len(f) < 12 {
		return 0
	}
	ticks, _ := strconv.Atoi(f[11])
	return time.Duration(ticks) * 10 * time.Millisecond
}

// The limit holds from the first instruction, long before there is a stream.
func TestCPULimitAtStart(t *testing.T) {
	cpuLimits(t, 0.2, func(t *testing.T, b *bundle, limits sandbox.Limits) {
		s := spec(t, "burn-at-start")
		s.Limits, s.StartTimeout = limits, 2*time.Second
		began := time.Now()
		_, err := b.Start(t.Context(), s)
		failed, ok := errors.AsType[*StartError](err)
		require.True(t, ok, "%v", err)
		require.Positive(t, failed.Exit.CPU)
		require.Less(t, failed.Exit.CPU, 400*time.Millisecond+time.Since(began)/4)
	})
}

// To be in a processor group costs a little at each sleep. Only those are in one whom nobody but the
// kernel may limit.
func TestProcessorGroups(t *testing.T) {
	t.Parallel()
	m := machine(t)
	if own, err := os.ReadFile("/proc/self/cgroup"); err != nil || !regexp.MustCompile(`(?m)^\d+:([^:]*,)?cpu[,:]`).Match(own) {
		t.Skip("no processor groups of version 1 here, which show who is in them")
	}
	for _, strict := range []bool{false, true} {
		limits := sandbox.Limits{CPUMax: 0.5, Strict: strict}
		needs(t, m, limits)
		b := setupOn(t, m)
		p := b.limited(t, limits)
		if p.runner.cell.Throttle() == nil && !strict {
			t.Skip("no group can be stopped here")
		}
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID()))
		require.NoError(t, err)
		group := regexp.MustCompile(`(?m)^\d+:([^:]*,)?cpu(,[^:]*)?:.*/leptir-` + b.remains.Run + `/`)
		require.Equal(t, strict, group.Match(groups), "%s", groups)
		p.Kill(ReasonTimeout, "")
		waitFor(t, "the end", p.Done())
	}
}

// spinUntilThrottled has a process compute until it has been held back.
func (b *bundle) spinUntilThrottled(t *testing.T, limits sandbox.Limits) *Process {
	t.Helper()
	s := spec(t, "serve")
	s.Limits, s.StartTimeout = limits, time.Minute
	p, err := b.Start(t.Context(), s)
	require.NoError(t, err)
	do(t, p, "spin")
	before := b.ofGroups("cpu.stat", "nr_throttled ")
	require.Eventually(t, func() bool {
		return b.ofGroups("cpu.stat", "nr_throttled ") > before+3 || b.ofGroups("cgroup.events", "frozen ") == 1
	}, time.Minute, 5*time.Millisecond)
	return p
}

// ofGroups returns a number, which stands behind a key, of a file of the group of the only process; 0 if there is none.
func (b *bundle) ofGroups(file, key string) (n int64) {
	for _, dir := range b.remains.Groups {
		files, _ := filepath.Glob(filepath.Join(dir, "*", file))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			_, after, _ := strings.Cut(string(text), key)
			if _, err := fmt.Sscan(after, &n); err == nil && n > 0 {
				return n
			}
		}
	}
	return 0
}

// What has used up its share of the processor dies all the same at once.
func TestKillOfTheThrottled(t *testing.T) {
	cpuLimits(t, 0.02, func(t *testing.T, b *bundle, limits sandbox.Limits) {
		p := b.spinUntilThrottled(t, limits)
		began := time.Now()
		p.Kill(ReasonTimeout, "")
		waitFor(t, "the end", p.Done())
		require.Less(t, time.Since(began), time.Second)
		t.Log("dead after", time.Since(began))
	})
}

// What has used up its share of the processor tells all the same at once what it is doing.
func TestAbortOfTheThrottled(t *testing.T) {
	cpuLimits(t, 0.02, func(t *testing.T, b *bundle, limits sandbox.Limits) {
		p := b.spinUntilThrottled(t, limits)
		p.Abort(ReasonTimeout, "limit 1s")
		require.Eventually(t, func() bool { return b.ofGroups("cgroup.freeze", "") == 0 }, 200*time.Millisecond, time.Millisecond,
			"it may be frozen for a moment if it was just being looked at")
		waitFor(t, "the end", p.Done())
		require.True(t, strings.HasPrefix(p.Exit().Dump, "SIGQUIT"), "%.200s", p.Exit().Dump)
	})
}

func TestOpenFiles(t *testing.T) {
	t.Parallel()
	b := setupOn(t, machine(t))
	p := b.limited(t, sandbox.Limits{OpenFiles: 100})
	do(t, p, "open-files")
	var n int
	line := b.says(t, "opened")
	_, err := fmt.Sscanf(line, "opened %d files", &n)
	require.NoError(t, err)
	require.Contains(t, line, "too many open files")
	require.Less(t, n, 100)
}

func TestScratchLimit(t *testing.T) {
	t.Parallel()
	limits := sandbox.Limits{ScratchMax: 8 << 20}
	t.Run("kernel", func(t *testing.T) {
		t.Parallel()
		m := machine(t)
		needs(t, m, limits)
		b := setupOn(t, m)
		p := b.limited(t, limits)
		do(t, p, "fill-scratch")
		require.Contains(t, b.says(t, "wrote"), "wrote 8 MiB: write filler: no space left on device")
		b2, err := os.ReadFile("/proc/self/mountinfo")
		require.NoError(t, err)
		require.NotContains(t, string(b2), "leptir-scratch", "the host sees a mount")
	})
	t.Run("sampled", func(t *testing.T) {
		t.Parallel()
		b := setupOn(t, machine(t).WithoutMounts())
		p := b.limited(t, limits)
		do(t, p, "overfill-scratch")
		waitFor(t, "the end", p.Done())
		require.Equal(t, ReasonLimit, p.Exit().Reason)
		require.Regexp(t, `^scratch limit 8.0 MiB exceeded, [0-9.]+ MiB found$`, p.Exit().String())
	})
}

func TestOutputLimit(t *testing.T) {
	t.Parallel()
	b := setupOn(t, machine(t))
	s := spec(t, "serve")
	s.OutputMax = 16 << 10
	p, err := b.Start(t.Context(), s)
	require.NoError(t, err)
	require.False(t, p.OutputSpent())
	do(t, p, "chatter", "ok")
	for range 2 { // it is not blocked
		_, err := p.Recv()
		require.NoError(t, err)
	}
	require.Equal(t, "(no more lines of this process: it has written more than its output_max of 16 KiB)", b.says(t, "(no more"))
	require.Eventually(t, p.OutputSpent, 10*time.Second, time.Millisecond)
	require.Less(t, strings.Count(b.printed(), "cccc"), 64<<10/4, "lines are dropped")
	p.Retire(10 * time.Second)
	waitFor(t, "the end", p.Done())
	require.Equal(t, strings.Repeat("c", 512), strings.TrimSuffix(p.Exit().Output[0], "…"), "the last lines are kept all the same")
}

func TestRunAs(t *testing.T) {
	t.Parallel()
	m := machine(t)
	limits := sandbox.Limits{RunAs: "12345:12346", NoNewPrivs: true, ProtectHost: true, MemoryMax: 256 << 20, ScratchMax: 8 << 20}
	if os.Geteuid() != 0 {
		b := setupOn(t, m)
		s := spec(t, "serve")
		s.Limits = limits
		_, err := b.Start(t.Context(), s)
		require.ErrorContains(t, err, "only root can start processes of another user")
		return
	}
	b := setupOn(t, m)
	p := b.limited(t, limits)
	do(t, p, "who")
	line := b.says(t, "uid")
	require.Contains(t, line, "uid 12345 gid 12346 groups [] ")
	require.Contains(t, line, "nnp 1")
	require.Contains(t, line, fmt.Sprintf("limit %d", (256<<20)/10*9))
	require.Equal(t, "work writable: <nil>", b.says(t, "work writable"))
	info, err := os.Stat(b.public.path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o711), info.Mode().Perm())
	p.Kill(ReasonTimeout, "")
	waitFor(t, "the end", p.Gone())

	p = b.limited(t, sandbox.Limits{RunAs: "daemon"})
	do(t, p, "who")
	require.Eventually(t, func() bool { return strings.Contains(b.printed(), "user daemon") }, 20*time.Second, 5*time.Millisecond)

	s := spec(t, "serve")
	s.Limits.RunAs = "no-such-user"
	_, err = b.Start(t.Context(), s)
	require.ErrorContains(t, err, `there is no user "no-such-user" on this machine`)
}

func TestNoNetwork(t *testing.T) {
	t.Parallel()
	m := machine(t)
	limits := sandbox.Limits{NoNetwork: true}
	needs(t, m, limits)
	b := setupOn(t, m)
	p := b.limited(t, limits)
	do(t, p, "who")
	require.Contains(t, b.says(t, "uid"), "interfaces up 0")
	_, err := p.Recv() // and yet it is talked to
	require.NoError(t, err)
}

func TestPaths(t *testing.T) {
	t.Parallel()
	m := machine(t)
	dir := t.TempDir()
	var paths []string
	for _, name := range []string{"readable", "writable", "other"} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(path, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(path, "file"), []byte("x"), 0o600))
		paths = append(paths, path)
	}
	limits := sandbox.Limits{NoNewPrivs: true, PathsRead: paths[:1], PathsWrite: paths[1:2], NoNetwork: true}
	if os.Geteuid() == 0 {
		limits.ScratchMax = 1 << 20
	}
	needs(t, m, limits)
	b := setupOn(t, m)
	p := b.limited(t, limits, "LEPTIR_TEST_PATHS="+strings.Join(paths, ":"))
	do(t, p, "paths", "who")
	require.Equal(t, "readable: read true, write false", b.says(t, "readable"))
	require.Equal(t, "writable: read true, write true", b.says(t, "writable"))
	require.Equal(t, "other: read false, write false", b.says(t, "other"))
	require.Equal(t, "work writable: <nil>", b.says(t, "work writable"))

	s := spec(t, "serve")
	s.Limits = sandbox.Limits{NoNewPrivs: true, PathsRead: []string{"/nonexistent/folder"}}
	_, err := b.Start(t.Context(), s)
	require.ErrorContains(t, err, "paths_read: open /nonexistent/folder: no such file or directory")
}

func TestHostIsProtected(t *testing.T) {
	t.Parallel()
	m := machine(t)
	limits := sandbox.Limits{NoNewPrivs: true, ProtectHost: true}
	needs(t, m, limits)
	b := setupOn(t, m)
	do(t, b.limited(t, limits), "attack-host")
	// Root may look at anybody's environment, whatever domain it is in.
	root := os.Geteuid() == 0
	require.Equal(t, fmt.Sprintf("signal false, environ %v, mem false, trace false", root), b.says(t, "signal"))
}

// What root can do is not what others can: the same tests as somebody else.
func TestAsAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("the tests run as somebody else than root already")
	}
	if testing.Short() {
		t.Skip("many of the other tests once more")
	}
	const uid = 12399
	dir, err := os.MkdirTemp("", "leptir-user-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chown(dir, uid, uid))
	self, err := os.Executable()
	require.NoError(t, err)
	for from, to := range map[string]string{self: "tests", testbin.Build(t, "internal/chaosplugin"): "chaosplugin"} {
		b, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, to), b, 0o755))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "tests"), "-test.v", "-test.timeout=220s", "-test.run",
		"^(TestKillTakesTheWholeGroup|TestMemoryLimit|TestForkBomb|TestOpenFiles|TestScratchLimit|TestRunAs|TestNoNetwork|TestPaths|TestHostIsProtected|"+
			"TestEscapedDaemonIsKilled|TestDaemonLivesWithItsProcess|TestKilledHost|TestAbort)$")
	cmd.Dir = dir
	cmd.Env = []string{"TMPDIR=" + dir, "PATH=" + os.Getenv("PATH"), envPlugin + "=" + filepath.Join(dir, "chaosplugin")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "--- ") {
			t.Log(strings.TrimSpace(line))
		}
	}
	require.Contains(t, string(out), "--- PASS: TestRunAs")
}

func TestStrict(t *testing.T) {
	t.Parallel()
	b := setupOn(t, sampledOnly(t))
	s := spec(t, "serve")
	s.Limits = sandbox.Limits{CPUMax: 1, Strict: true}
	_, err := b.Start(t.Context(), s)
	require.ErrorContains(t, err, "limits are strict, and this machine does not enforce all of them: cpu_max: no cgroups are mounted; it is not enforced")
	left, err := os.ReadDir(b.runDir.path)
	require.NoError(t, err)
	require.Len(t, left, 1, "folders remain beside the lock")
}

// What a plugin has started and made a daemon of dies with it, at once and all of it, with
// cgroups and without.
func TestEscapedDaemonIsKilled(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*sandbox.Machine{"kernel": machine(t), "no cgroups": sampledOnly(t)} {
		for _, task := range []string{"daemon", "setsid", "hidden-daemon"} {
			if task == "hidden-daemon" && name != "kernel" {
				continue // only a group holds it
			}
			t.Run(task+" "+name, func(t *testing.T) {
				t.Parallel()
				if task == "hidden-daemon" && !m.Groups() {
					t.Skip("no cgroup can be made here")
				}
				b := setupOn(t, m)
				pidFile := filepath.Join(t.TempDir(), "pid")
				p := b.limited(t, sandbox.Limits{}, "LEPTIR_TEST_PIDFILE="+pidFile)
				do(t, p, task)
				var daemon int
				require.Eventually(t, func() bool {
					s, _ := os.ReadFile(pidFile)
					daemon, _ = strconv.Atoi(string(s))
					return daemon > 0
				}, 10*time.Second, time.Millisecond)
				p.Kill(ReasonTimeout, "")
				waitFor(t, "the end", p.Done())
				drain(p)
				waitFor(t, "its remains", p.Gone())
				require.Eventually(t, func() bool { return !alive(daemon) }, 2*time.Second, time.Millisecond)
				requireNothingOf(t, b)
			})
		}
	}
}

// A daemon of a process that lives is left alone until that process ends, by itself too.
func TestDaemonLivesWithItsProcess(t *testing.T) {
	t.Parallel()
	b := setupOn(t, sampledOnly(t))
	pidFile := filepath.Join(t.TempDir(), "pid")
	p := b.limited(t, sandbox.Limits{}, "LEPTIR_TEST_PIDFILE="+pidFile)
	do(t, p, "daemon-and-end")
	_, err := p.Recv()
	require.NoError(t, err)
	s, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	daemon, err := strconv.Atoi(string(s))
	require.NoError(t, err)
	sandbox.Sweep()
	require.True(t, alive(daemon))
	p.Retire(10 * time.Second)
	waitFor(t, "the end", p.Gone())
	require.Eventually(t, func() bool { return !alive(daemon) }, 10*time.Second, time.Millisecond)
}

// A process that does not let anything else run is made to write down its stacks.
func TestAbort(t *testing.T) {
	t.Parallel()
	b := setupOn(t, machine(t))
	p := b.start(t, "serve", "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
	do(t, p, "spin")
	require.Eventually(t, func() bool { return p.Progress().Begun == 1 }, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return userTime(p.PID()) >= 100*time.Millisecond }, 20*time.Second, 5*time.Millisecond,
		"it is to be the busiest")
	p.Abort(ReasonTimeout, "limit 1s")
	waitFor(t, "the end", p.Done())
	e := p.Exit()
	require.Equal(t, ReasonTimeout, e.Reason)
	require.True(t, strings.HasPrefix(e.Dump, "SIGQUIT"), "%.200s", e.Dump)
	require.True(t, strings.Contains(e.Dump, "main.spin("), "%.1000s", e.Dump)
	require.NotContains(t, b.printed(), "goroutine", "dumps do not go to the log")
	require.NotContains(t, strings.Join(e.Output, "\n"), "goroutine")
}
