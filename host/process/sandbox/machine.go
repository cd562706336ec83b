package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Machine is what the kernel, and the rights of this program, allow: which limits it can
// enforce. It is safe for concurrent use.
type Machine struct {
	hierarchies hierarchies
	// landlock is the version of Landlock, 0 where there is none.
	landlock int
	root     bool

	controllers func() map[string]string    // of cgroups; why not, where that is known
	mounts      func() error                // whether a scratch folder can be mounted
	networks    func() (user bool, _ error) // whether, and if by way of a user namespace, a network can be had
}

// Look finds out what this machine can do. It makes nothing that stays. parent is the cgroup
// below which groups are made, as a path from the top of each hierarchy; "" is the one that
// this program is in.
func Look(parent string) *Machine {
	mountinfo, _ := readKernel("/proc/self/mountinfo")
	cgroup, _ := readKernel("/proc/self/cgroup")
	m := &Machine{hierarchies: findHierarchies(string(mountinfo), string(cgroup), parent),
		landlock: landlockABI(), root: os.Geteuid() == 0}
	m.controllers = sync.OnceValue(m.lookControllers)
	m.mounts = sync.OnceValue(tryMount)
	m.networks = sync.OnceValues(tryNetwork)
	return m
}

// lookControllers says of memory, pids and cpu what keeps them from being limited by cgroup:
// "" is nothing.
func (m *Machine) lookControllers() map[string]string {
	why := map[string]string{}
	for _, c := range []string{"memory", "pids", "cpu"} {
		why[c] = m.lookController(c)
	}
	return why
}

func (m *Machine) lookController(c string) string {
	if h, ok := m.hierarchies.v1[c]; ok {
		if !writableOrMissing(h.parent) {
			return "no cgroup can be made in " + h.parent
		}
		return ""
	}
	if m.hierarchies.v2 == nil {
		return "no cgroups are mounted"
	}
	base, err := m.hierarchies.v2.base()
	if err != nil {
		return err.Error()
	}
	return m.hierarchies.v2.obstacle(base, c)
}

// writableOrMissing reports whether a folder, or the nearest above it that is there, can be
// written.
func writableOrMissing(dir string) bool {
	for {
		switch err := unix.Access(dir, unix.W_OK|unix.X_OK); {
		case err == nil:
			return true
		case !errors.Is(err, fs.ErrNotExist) || dir == "/":
			return false
		}
		dir = dir[:max(1, strings.LastIndexByte(dir, '/'))]
	}
}

// tryMount mounts a scratch folder where nobody sees it.
func tryMount() error {
	return trial(func() error {
		if err := privateMounts(); err != nil {
			return err
		}
		return unix.Mount("tmpfs", os.TempDir(), "tmpfs", 0, "size=4096")
	})
}

// privateMounts gives the calling thread mounts of its own.
func privateMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("own mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("own mounts: %w", err)
	}
	return nil
}

// tryNetwork looks whether a network namespace can be made: by this program's own right, or
// inside a user namespace.
func tryNetwork() (user bool, err error) {
	if err = trial(func() error { return unix.Unshare(unix.CLONE_NEWNET) }); err == nil {
		return false, nil
	}
	attr := &syscall.SysProcAttr{}
	ownUser(attr)
	// The file is not there: whether the start gets as far as that tells all.
	_, perr := syscall.ForkExec("/dev/null/nothing", []string{"nothing"}, &syscall.ProcAttr{Sys: attr})
	if errors.Is(perr, syscall.ENOTDIR) {
		return true, nil
	}
	return false, err
}

// ownUser has a process start in user and network namespaces of its own, as the same user.
func ownUser(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= unix.CLONE_NEWUSER | unix.CLONE_NEWNET
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
}

// Gaps returns which of the limits the kernel of this machine does not enforce for this
// program, and what is done instead.
func (m *Machine) Gaps(l Limits) (gaps []Gap) {
	gap := func(setting, why string, args ...any) {
		gaps = append(gaps, Gap{setting, fmt.Sprintf(why, args...)})
	}
	controllers := map[string]string{}
	if l.MemoryMax > 0 || l.CPUMax > 0 || l.PidsMax > 0 {
		controllers = m.controllers()
	}
	if why := controllers["memory"]; l.MemoryMax > 0 && why != "" {
		gap("memory_max", "%s; the resident memory of the processes is looked at every %v instead, and what exceeds it is killed", why, SampleInterval)
	}
	if why := controllers["cpu"]; l.CPUMax > 0 && why != "" {
		switch {
		case !m.throttles():
			gap("cpu_max", "%s; it is not enforced", why)
		case l.Strict:
			gap("cpu_max", "%s; without strict the host stops what exceeds it for a while", why)
		}
	}
	if why := controllers["pids"]; l.PidsMax > 0 && why != "" {
		if l.RunAs != "" && m.root {
			gap("pids_max", "%s; it is enforced for all processes of user %s together instead", why, l.RunAs)
		} else {
			gap("pids_max", "%s; the processes are counted every %v instead, and what exceeds it is killed", why, SampleInterval)
		}
	}
	if l.ScratchMax > 0 {
		if err := m.mounts(); err != nil {
			gap("scratch_max", "no folder of limited size can be mounted (%v); its size is looked at every %v instead, and what exceeds it is killed", err, scratchInterval)
		}
	}
	if l.RunAs != "" && !m.root {
		gap("run_as", "only root can start processes of another user; they are not started")
	}
	if l.files() && m.landlock == 0 {
		gap("paths_read, paths_write", "this kernel has no Landlock; they are not enforced")
	}
	if l.ProtectHost && l.RunAs == "" {
		switch {
		case m.landlock == 0:
			gap("protect_host", "this kernel has no Landlock; it is not enforced, and run_as is the only protection")
		case m.landlock < landlockSignals:
			gap("protect_host", "this kernel's Landlock knows no scope of signals (Linux 6.12 does); only tracing and reading is prevented")
		}
	}
	if l.NoNetwork {
		if _, err := m.networks(); err != nil {
			gap("network", "no network namespace can be made (%v); the network stays open", err)
		}
	}
	return gaps
}

// throttles reports whether what is in a group can be stopped for a while.
func (m *Machine) throttles() bool {
	h := m.hierarchies.v2
	if h == nil || !canFreeze() {
		return false
	}
	_, err := h.base()
	return err == nil
}

// Groups reports whether a group can be made to kill by, whatever its controllers.
func (m *Machine) Groups() bool {
	if h := m.hierarchies.v2; h != nil {
		if _, err := h.base(); err == nil {
			return true
		}
	}
	h, ok := m.hierarchies.v1["freezer"]
	return ok && writableOrMissing(h.parent)
}

// WithoutGroups returns the same machine as if it had no cgroups, to see what is done there.
func (m *Machine) WithoutGroups() *Machine {
	c := *m
	c.hierarchies = hierarchies{}
	c.controllers = sync.OnceValue(c.lookControllers)
	return &c
}

// WithoutVersion2 returns the same machine as if it had cgroups of version 1 only.
func (m *Machine) WithoutVersion2() *Machine {
	c := *m
	c.hierarchies.v2 = nil
	c.controllers = sync.OnceValue(c.lookControllers)
	return &c
}

// WithoutMounts returns the same machine as if it let nobody mount anything.
func (m *Machine) WithoutMounts() *Machine {
	c := *m
	c.mounts = func() error { return unix.EPERM }
	return &c
}
