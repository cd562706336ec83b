package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	hybridMounts = `26 1 0:23 / /proc rw - proc proc rw
30 29 0:25 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct
32 29 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
33 29 0:28 / /sys/fs/cgroup/pids\040odd rw,relatime - cgroup cgroup rw,pids
34 29 0:29 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
`
	hybridGroups = "9:memory:/system.slice/leptir.service\n8:cpu,cpuacct:/\n7:pids:/user.slice\n0::/system.slice/leptir.service\n"
)

func TestFindHierarchies(t *testing.T) {
	t.Parallel()
	h := findHierarchies(hybridMounts, hybridGroups, "")
	service := "/sys/fs/cgroup/memory/system.slice/leptir.service"
	require.Equal(t, map[string]hierarchy{
		"memory": {parent: service, own: service, top: "/sys/fs/cgroup/memory"},
		"cpu":    {parent: "/sys/fs/cgroup/cpu,cpuacct", own: "/sys/fs/cgroup/cpu,cpuacct", top: "/sys/fs/cgroup/cpu,cpuacct"},
		"pids":   {parent: "/sys/fs/cgroup/pids odd/user.slice", own: "/sys/fs/cgroup/pids odd/user.slice", top: "/sys/fs/cgroup/pids odd"},
	}, h.v1)
	require.Equal(t, &hierarchy{parent: "/sys/fs/cgroup/unified/system.slice/leptir.service", own: "/sys/fs/cgroup/unified/system.slice/leptir.service", top: "/sys/fs/cgroup/unified"}, h.v2)

	h = findHierarchies(hybridMounts, hybridGroups, "leptir.slice/x")
	require.Equal(t, "/sys/fs/cgroup/memory/leptir.slice/x", h.v1["memory"].parent)
	require.Equal(t, service, h.v1["memory"].own, "a thread goes back to where it came from")

	// In a container the mount shows a part of the tree only.
	h = findHierarchies("30 29 0:25 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "9:memory:/docker/abc/x\n", "")
	require.Equal(t, "/sys/fs/cgroup/memory/x", h.v1["memory"].own)
	// What lies outside of what is mounted cannot be reached.
	h = findHierarchies("30 29 0:25 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "9:memory:/docker/abcd\n", "")
	require.Empty(t, h.v1)
	h = findHierarchies("30 29 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/../other\n", "")
	require.Nil(t, h.v2)
}

func FuzzFindHierarchies(f *testing.F) {
	f.Add(hybridMounts, hybridGroups, "")
	f.Add("1 2 3:4 / /\\040\\9 - cgroup cgroup ,,memory", "::\n1:memory:", "..")
	f.Fuzz(func(t *testing.T, mounts, groups, parent string) {
		h := findHierarchies(mounts, groups, parent)
		for c, x := range h.v1 {
			require.Contains(t, v1Controllers, c)
			require.NotEmpty(t, x.parent)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (a) b) (c) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 100 2000 300 18446744073709551615 0"))
	f.Add([]byte("1 (x) "))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := parseStat(b)
		if !ok {
			return
		}
		require.NotContains(t, string(s.state), " ")
	})
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	s, ok := parseStat([]byte("12 (a) S 1 (x) R 7 12 11 0 -1 4194560 1 2 3 4 50 6 7 8 20 0 9 0 100 2000 3 18446744073709551615 0"))
	require.True(t, ok)
	require.Equal(t, procStat{state: 'R', ppid: 7, group: 12, session: 11, ticks: 56, threads: 9, start: 100, rss: 3 * pageSize}, s)
	for _, broken := range []string{"", "12 (x", "12 (x) S 1 2", "12 (x) S a 12 11 0 -1 4194560 1 2 3 4 50 6 7 8 20 0 9 0 100 2000 3 1 0"} {
		_, ok := parseStat([]byte(broken))
		require.False(t, ok, broken)
	}
	self, ok := statOf(os.Getpid())
	require.True(t, ok)
	require.Equal(t, os.Getppid(), self.ppid)
}

// fakeGroup makes a folder with the files of a group of version 2, as the kernel does.
func fakeGroup(t *testing.T, dir string, controllers string, files ...string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	write("cgroup.controllers", controllers)
	for _, name := range append(files, "cgroup.procs", "cgroup.subtree_control", "cgroup.type") {
		write(name, "")
	}
	return dir
}

func content(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(b)
}

func TestLimitsOfVersion2(t *testing.T) {
	t.Parallel()
	all := func(string) bool { return true }
	l := Limits{MemoryMax: 256 << 20, PidsMax: 64, CPUMax: 1.5}
	dir := fakeGroup(t, filepath.Join(t.TempDir(), "g"), "", "memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max")
	require.NoError(t, v2Limit(dir, &l, all))
	for name, want := range map[string]string{"memory.max": "268435456", "memory.swap.max": "0", "memory.oom.group": "1",
		"pids.max": "64", "cpu.max": "150000 100000"} {
		require.Equal(t, want, content(t, dir, name), name)
	}

	// Controllers that there are not are left alone, and so are files that a kernel lacks.
	dir = fakeGroup(t, filepath.Join(t.TempDir(), "g"), "", "memory.max")
	require.NoError(t, v2Limit(dir, &l, func(c string) bool { return c == "memory" }))
	require.Equal(t, "268435456", content(t, dir, "memory.max"))
	require.ErrorContains(t, v2Limit(dir, &l, all), "pids.max: no such file")
	require.NoError(t, v2Limit(dir, &Limits{}, all))
	require.Equal(t, 1000, cpuQuota(0.001), "the kernel wants a millisecond at least")
}

func TestControllersOfVersion2(t *testing.T) {
	t.Parallel()
	dir := fakeGroup(t, filepath.Join(t.TempDir(), "g"), "cpuset cpu memory pids\n")
	require.Equal(t, []string{"cpuset", "cpu", "memory", "pids"}, v2Available(dir))
	require.Empty(t, v2Obstacle(dir, "memory"))
	v2Give(dir, "memory", "hugetlb")
	require.Equal(t, "+memory", content(t, dir, "cgroup.subtree_control"), "what there is not cannot be given")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("1\n"+strconv.Itoa(os.Getpid())+"\n"), 0o600))
	require.Contains(t, v2Obstacle(dir, "memory"), "holds other processes beside this one; give the host a cgroup of its own")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("memory"), 0o600))
	require.Empty(t, v2Obstacle(dir, "memory"), "it is given already")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o600))
	require.Empty(t, v2Obstacle(dir, "pids"), "the host alone moves out of the way")

	// A group that has been chosen gets them from those above it.
	top := fakeGroup(t, filepath.Join(t.TempDir(), "top"), "memory")
	chosen := hierarchy{top: top, own: top, parent: filepath.Join(top, "a", "b")}
	require.Equal(t, []string{top, filepath.Join(top, "a"), filepath.Join(top, "a", "b")}, chosen.path(chosen.parent))
	require.Empty(t, chosen.obstacle(chosen.parent, "memory"))
	require.Contains(t, chosen.obstacle(chosen.parent, "pids"), `does not have the cgroup controller "pids"`)

	// The group that the host has moved out of, or that systemd has put it into a part of.
	h := hierarchy{parent: filepath.Join(dir, hostGroup), own: filepath.Join(dir, hostGroup)}
	base, err := h.base()
	require.NoError(t, err)
	require.Equal(t, dir, base)
}

// The controller of the processor is handed down only once somebody needs a quota: it makes processor
// groups of all.
func TestProcessorControllerOfVersion2(t *testing.T) {
	t.Parallel()
	base := fakeGroup(t, filepath.Join(t.TempDir(), "base"), "cpu memory pids")
	s := New(&Machine{hierarchies: hierarchies{v2: &hierarchy{parent: base, own: base, top: filepath.Dir(base)}}}, "run")
	run := fakeGroup(t, s.trees[""], "cpu memory pids")
	s.opened[""], s.v2has = nil, []string{"memory", "pids"}
	require.Equal(t, []string{"memory", "pids"}, s.given(false))
	require.Empty(t, content(t, base, "cgroup.subtree_control")+content(t, run, "cgroup.subtree_control"))
	s.given(true)
	require.Equal(t, "+cpu", content(t, base, "cgroup.subtree_control"))
	require.Equal(t, "+cpu", content(t, run, "cgroup.subtree_control"))
	require.Equal(t, []string{"memory", "pids"}, s.wantedOfV2("memory", "pids"))
}

func TestUsageOfVersion2(t *testing.T) {
	t.Parallel()
	dir := fakeGroup(t, filepath.Join(t.TempDir(), "g"), "", "memory.peak", "memory.events", "pids.events", "cpu.stat")
	put := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	put("memory.peak", "268435456\n")
	put("memory.events", "low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 1\n")
	put("pids.events", "max 3\n")
	put("cpu.stat", "usage_usec 1500000\nuser_usec 1\n")
	c := &Cell{limits: Limits{MemoryMax: 256 << 20, PidsMax: 64}, v2: dir, v2has: []string{"memory", "pids"}}
	u := c.Usage()
	require.Equal(t, Usage{PeakMemory: 256 << 20, CPU: 1500000000, OOMKills: 2, PidsHits: 3}, u)
	require.Equal(t, &Breach{Memory: true, Detail: "memory limit 256 MiB exceeded, peak 256 MiB"}, c.Breach(u))
	require.Equal(t, &Breach{Detail: "limit of 64 processes and threads reached"}, c.Breach(Usage{PidsHits: 1}))
	require.Nil(t, c.Breach(Usage{PeakMemory: 1 << 40}), "what the kernel has not acted upon is no breach")
}

// A group without cgroup.kill is killed by its list, with the group frozen in between.
func TestKillByList(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	dir := fakeGroup(t, filepath.Join(t.TempDir(), "g"), "")
	list := strconv.Itoa(os.Getpid()) + "\n" + strconv.Itoa(cmd.Process.Pid) + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(list), 0o600))
	var states []bool
	require.NoError(t, killByList(dir, func(on bool) error {
		states = append(states, on)
		if !on { // the kernel takes the dead off the list
			return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strings.Split(list, "\n")[0]), 0o600)
		}
		return nil
	}))
	require.ErrorContains(t, cmd.Wait(), "killed")
	require.Equal(t, []bool{true, false, true, false}, states)
	require.False(t, slices.Contains(states[len(states)-1:], true), "nothing stays frozen")
}
