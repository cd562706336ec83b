package sandbox

import (
	"errors"
	"maps"
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

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/backplane/leptir/internal/protocol"
)

// A thread that f has changed is used by nobody else, and is never the main one.
func TestOwnThread(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[int]bool{}
	for range 50 {
		require.NoError(t, trial(func() error {
			if unix.Gettid() == unix.Getpid() {
				return errors.New("the main thread")
			}
			mu.Lock()
			defer mu.Unlock()
			seen[unix.Gettid()] = true
			return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		}))
	}
	require.NotEmpty(t, seen)
	for range 50 {
		done := make(chan error, 1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
			if err == nil && set != 0 {
				err = errors.New("a thread that was confined has come back")
			}
			done <- err
		}()
		require.NoError(t, <-done)
	}
}

func TestLookupUser(t *testing.T) {
	t.Parallel()
	id, err := LookupUser("root")
	require.NoError(t, err)
	require.Equal(t, uint32(0), id.UID)
	require.NotEmpty(t, id.Home)
	id, err = LookupUser("54321:54322")
	require.NoError(t, err)
	require.Equal(t, &Identity{UID: 54321, GID: 54322}, id)
	id, err = LookupUser("root:54322")
	require.NoError(t, err)
	require.Equal(t, uint32(54322), id.GID)
	require.Empty(t, id.Groups)
	for _, bad := range []string{"no-such-user", "54321", "-1:1", "root:no-such-group", "4294967295:1", ""} {
		_, err := LookupUser(bad)
		require.ErrorContains(t, err, "run_as: there is no ", bad)
	}
}

// What a machine cannot enforce is said, and what is not set is not.
func TestGaps(t *testing.T) {
	t.Parallel()
	none := &Machine{controllers: func() map[string]string {
		return map[string]string{"memory": "no cgroups are mounted", "pids": "no cgroups are mounted", "cpu": "no cgroups are mounted"}
	}, mounts: func() error { return unix.EPERM }, networks: func() (bool, error) { return false, unix.EPERM }}
	require.Empty(t, none.Gaps(Limits{OpenFiles: 5, NoNewPrivs: true}))
	var settings []string
	for _, g := range none.Gaps(Limits{MemoryMax: 1, CPUMax: 1, PidsMax: 1, ScratchMax: 1, RunAs: "x", PathsRead: []string{"/"}, NoNetwork: true, ProtectHost: true}) {
		settings = append(settings, g.Setting)
		require.NotEmpty(t, g.Why)
	}
	require.Equal(t, []string{"memory_max", "cpu_max", "pids_max", "scratch_max", "run_as", "paths_read, paths_write", "network"}, settings)
	require.Contains(t, none.Gaps(Limits{ProtectHost: true})[0].String(), "protect_host: this kernel has no Landlock")
	old := *none
	old.landlock = 1
	require.Contains(t, old.Gaps(Limits{ProtectHost: true})[0].String(), "only tracing and reading is prevented")
	require.Contains(t, Look("").WithoutGroups().Gaps(Limits{CPUMax: 1})[0].String(), "it is not enforced")
	if m := withoutProcessorGroups(Look("")); m.throttles() {
		require.Empty(t, m.Gaps(Limits{CPUMax: 1}), "the host does it")
		require.Contains(t, m.Gaps(Limits{CPUMax: 1, Strict: true})[0].String(), "without strict the host stops what exceeds it for a while")
	}
}

// sleeper starts a process that carries a cookie, outside of any cell.
func sleeper(t *testing.T, cookie string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	cmd.Env = []string{protocol.EnvProcessID + "=" + cookie}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: 0}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool { return cookieOf(cmd.Process.Pid, protocol.EnvProcessID) == cookie }, 10*time.Second, time.Millisecond)
	return cmd
}

func ended(cmd *exec.Cmd) bool {
	s, ok := statOf(cmd.Process.Pid)
	return !ok || s.state == 'Z'
}

// Of a dead host's processes those are killed that carry its cookie and are not older than
// it, on the boot that it ran on.
func TestSweepRemains(t *testing.T) {
	t.Parallel()
	self, ok := statOf(os.Getpid())
	require.True(t, ok)
	dead, other := "dead"+strings.ToLower(t.Name()), "living"+strings.ToLower(t.Name())
	theirs, others := sleeper(t, dead+".12345678"), sleeper(t, other+".12345678")

	for name, r := range map[string]Remains{
		"another boot":         {Run: dead, Boot: "another", Start: self.start},
		"started later":        {Run: dead, Boot: bootID(), Start: self.start + 1<<40},
		"no name":              {Boot: bootID()},
		"the beginning of one": {Run: dead[:5], Boot: bootID()},
	} {
		n, err := SweepRemains([]Remains{r})
		require.NoError(t, err)
		require.Zero(t, n, name)
		require.False(t, ended(theirs), name)
	}
	n, err := SweepRemains([]Remains{{Run: dead, Boot: bootID(), Start: self.start}})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Eventually(t, func() bool { return ended(theirs) }, 10*time.Second, time.Millisecond)
	require.False(t, ended(others))
}

// A plugin may have written down other folders for its host's groups.
func TestForeignGroupsAreNotSwept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), groupPrefix+"run")
	require.NoError(t, os.Mkdir(dir, 0o700))
	_, err := SweepRemains([]Remains{{Run: "run", Boot: bootID(), Groups: []string{dir, "/", "/sys/fs/cgroup"}}})
	require.NoError(t, err)
	require.DirExists(t, dir)
}

// A pid whose process is not the one meant any more is left alone.
func TestKillIf(t *testing.T) {
	t.Parallel()
	cmd := sleeper(t, "x.y")
	killIf(cmd.Process.Pid, func() bool { return false })
	require.False(t, ended(cmd))
	killIf(cmd.Process.Pid, func() bool { return true })
	require.Eventually(t, func() bool { return ended(cmd) }, 10*time.Second, time.Millisecond)
}

// Children that another part of the program has started are neither killed nor buried.
func TestSweepLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	cmd := sleeper(t, "not-ours.12345678")
	Sweep()
	require.False(t, ended(cmd))
	require.NoError(t, cmd.Process.Kill())
	require.Eventually(t, func() bool { return ended(cmd) }, 10*time.Second, time.Millisecond)
	for range strangerSweeps + 2 {
		Sweep()
	}
	require.ErrorContains(t, cmd.Wait(), "killed", "somebody has taken its end away")
}

func TestFolderSize(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "b", "c"), make([]byte, 1000), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "d"), make([]byte, 24), 0o600))
	require.NoError(t, os.Symlink("/dev/zero", filepath.Join(dir, "e")))
	require.Equal(t, int64(1024), folderSize(dir))
	require.Zero(t, folderSize(filepath.Join(dir, "nothing")))
}

// withoutProcessorGroups returns the same machine as if groups had no processor controller.
func withoutProcessorGroups(m *Machine) *Machine {
	c := *m
	c.hierarchies.v1 = maps.Clone(m.hierarchies.v1)
	delete(c.hierarchies.v1, "cpu")
	c.controllers = func() map[string]string {
		why := m.lookControllers()
		why["cpu"] = "no processor controller"
		return why
	}
	return &c
}

// withGroups returns this machine with a place for groups of the test's own, or skips the test.
func withGroups(t *testing.T) *Machine {
	t.Helper()
	parent := ""
	if os.Geteuid() == 0 {
		parent = "/leptir-test-" + uuid.NewString()[:8]
	}
	m := Look(parent)
	if !m.Groups() {
		t.Skip("no cgroup can be made here")
	}
	return m
}

// requireCleanEnd closes the sandbox and demands that its groups are gone.
func requireCleanEnd(t *testing.T, s *Sandbox) {
	t.Helper()
	require.NoError(t, s.Close())
	for _, dir := range s.Groups() {
		require.NoDirExists(t, dir)
		if strings.HasPrefix(filepath.Base(filepath.Dir(dir)), "leptir-test-") {
			_ = os.Remove(filepath.Dir(dir)) // where other runs of the test are not there still
		}
	}
}

// What is in a cell dies by its group alone, whatever it has done to hide.
func TestCellKill(t *testing.T) {
	t.Parallel()
	m := withGroups(t)
	for name, limits := range map[string]Limits{"version 2": {CPUMax: 1}, "version 2, quota": {CPUMax: 1, Strict: true}, "freezer": {CPUMax: 1}} {
		t.Run(name, func(t *testing.T) {
			m := m
			if name == "freezer" {
				m = m.WithoutVersion2()
			}
			if limits.Strict && len(m.Gaps(limits)) > 0 {
				t.Skip(m.Gaps(limits)[0])
			}
			if !m.Groups() {
				t.Skip("this machine has no freezer")
			}
			s := New(m, strings.ReplaceAll(uuid.NewString(), "-", ""))
			home := t.TempDir()
			c, err := s.Cell(Place{Cookie: s.Cookie("x"), Home: home, Work: home, Binary: "/bin/sh"}, limits)
			require.NoError(t, err)
			pidFile := filepath.Join(home, "pid")
			cmd := exec.Command("setsid", "setsid", "sh", "-c", "sleep 60 & echo $! > "+pidFile+".new; mv "+pidFile+".new "+pidFile+"; wait")
			cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
			cmd.SysProcAttr = &syscall.SysProcAttr{}
			require.NoError(t, c.Start(cmd.SysProcAttr, func() (int, error) {
				if err := cmd.Start(); err != nil {
					return 0, err
				}
				return cmd.Process.Pid, nil
			}))
			pid := 0
			require.Eventually(t, func() bool {
				b, _ := os.ReadFile(pidFile)
				pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
				return pid > 0
			}, 10*time.Second, time.Millisecond)
			requireHastened(t, c, pid)
			_ = cmd.Wait() // the leader, a setsid, has ended long since
			require.True(t, c.KillRest())
			require.Eventually(t, func() bool {
				st, ok := statOf(pid)
				return !ok || st.state == 'Z'
			}, 10*time.Second, time.Millisecond)
			require.True(t, c.KillRest(), "of nothing")
			c.Dead()
			c.Hunt()
			require.NoError(t, c.Close())
			requireCleanEnd(t, s)
		})
	}
}

// requireHastened demands that what is to die gets the processor, though it has a quota and has
// left its process group.
func requireHastened(t *testing.T, c *Cell, pid int) {
	t.Helper()
	if c.throttle != nil {
		require.NoError(t, c.throttle.group.freeze(true))
		requireFrozen(t, c.v2, true)
	}
	c.hasten()
	if c.throttle != nil {
		requireFrozen(t, c.v2, false)
		require.NoError(t, c.throttle.group.freeze(true)) // and now it is to die like this
	} else if dir := c.v1["cpu"]; dir != "" {
		require.EqualValues(t, -1, readInt(dir, "cpu.cfs_quota_us"))
	} else if c.cpuByGroup() {
		quota, err := os.ReadFile(filepath.Join(c.v2, "cpu.max"))
		require.NoError(t, err)
		require.Contains(t, string(quota), "max ")
	}
	if c.v2 == "" || os.Geteuid() != 0 {
		return
	}
	speed(c.v2, 0)
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
	require.NoError(t, err)
	require.Equal(t, niceLeast, 20-raw)
}

// The group of a dead host is swept by the next one that makes its own beside it; that of a
// living one is not.
func TestGroupsOfDeadHostsAreSwept(t *testing.T) {
	// Not in parallel: a process that another test just forks has this program's locks until its exec.
	m := withGroups(t)
	if m.hierarchies.v2 == nil {
		t.Skip("no cgroup of version 2 can be made here")
	}
	run := func() *Sandbox { return New(m, strings.ReplaceAll(uuid.NewString(), "-", "")) }
	dead, living := run(), run()
	left, err := dead.open("")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(left, "process"), 0o755))
	kept, err := living.open("")
	require.NoError(t, err)
	require.DirExists(t, left)
	for _, lock := range dead.locks { // as the kernel does for a dead host
		lock.Close()
	}
	next := run()
	_, err = next.open("")
	require.NoError(t, err)
	require.NoDirExists(t, left)
	require.DirExists(t, kept)
	require.NoError(t, living.Close())
	requireCleanEnd(t, next)
}

// A host whose groups somebody has removed, since they were empty, makes them anew.
func TestRemovedGroupsAreMadeAnew(t *testing.T) {
	t.Parallel()
	m := withGroups(t)
	s := New(m, strings.ReplaceAll(uuid.NewString(), "-", ""))
	home := t.TempDir()
	for i := range 3 {
		c, err := s.Cell(Place{Cookie: s.Cookie("x"), Home: home, Work: home, Binary: "/bin/sh"}, Limits{PidsMax: 10})
		require.NoError(t, err, "cell %d", i)
		require.NoError(t, c.Close())
		for _, dir := range s.Groups() {
			if i == 0 {
				require.NoError(t, removeGroup(dir))
			}
		}
	}
	requireCleanEnd(t, s)
}

// A limit that the kernel should enforce, and does not since its group cannot be made, is told,
// and refused where limits are strict.
func TestGroupThatCannotBeMade(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs the rights of root")
	}
	m := Look("/leptir-test-" + uuid.NewString()[:8])
	if m.controllers()["pids"] != "" {
		t.Skip("no cgroup can be made here")
	}
	s := New(m, strings.ReplaceAll(uuid.NewString(), "-", ""))
	for _, dir := range s.Groups() { // somebody else has them
		require.NoError(t, os.MkdirAll(dir, 0o700))
		f, err := lockGroup(dir)
		require.NoError(t, err)
		defer func() {
			f.Close()
			require.NoError(t, os.Remove(dir))
			require.NoError(t, os.Remove(filepath.Dir(dir)))
		}()
	}
	home := t.TempDir()
	place := Place{Cookie: s.Cookie("x"), Home: home, Work: home, Binary: "/bin/sh"}
	c, err := s.Cell(place, Limits{PidsMax: 10})
	require.NoError(t, err)
	require.Len(t, c.Gaps(), 1)
	require.Regexp(t, "^pids_max: its cgroup cannot be made: cannot be locked: .+", c.Gaps()[0].String())
	require.NotNil(t, c.Sampler(), "it is looked at instead")
	require.NoError(t, c.Close())
	_, err = s.Cell(place, Limits{PidsMax: 10, Strict: true})
	require.ErrorContains(t, err, "limits are strict, and this machine does not enforce all of them: pids_max: its cgroup")
	require.NoError(t, s.Close())
}
