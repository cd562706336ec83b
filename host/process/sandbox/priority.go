package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// favour is by how much a host's "nice" is lower than its processes'.
	favour = 5
	// niceLeast is the lowest there is.
	niceLeast = -20
)

// ownNice is what processes get that are born in a cell; nil where they get the host's.
var ownNice atomic.Pointer[int]

// Favour raises the priority of this program over that of the processes that it starts in cells,
// which get the one that it had, so that they cannot keep it from killing them in time. It is an
// error without the right to (CAP_SYS_NICE); nothing has changed then.
func Favour() error {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // 20 - nice
	if err != nil {
		return fmt.Errorf("priority: %w", err)
	}
	own := 20 - raw
	done := map[int]bool{}
	for news := true; news; { // a thread that is made meanwhile has its maker's
		news = false
		for _, tid := range threadsOf(os.Getpid()) {
			if done[tid] {
				continue
			}
			if err := unix.Setpriority(unix.PRIO_PROCESS, tid, max(own-favour, niceLeast)); err != nil && err != unix.ESRCH {
				return fmt.Errorf("priority: %w", err)
			}
			done[tid], news = true, true
		}
	}
	ownNice.Store(&own)
	return nil
}

// unfavour gives the calling thread, and what it starts, the priority of processes.
func unfavour() {
	if nice := ownNice.Load(); nice != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, *nice)
	}
}

// KillGroup kills a process group and, where this program may, gives those in it the highest
// priority: to die they need the processor, each thread of theirs, and others may be waiting for it.
// The caller knows that the group is not somebody else's.
func KillGroup(group int) {
	_ = unix.Kill(-group, unix.SIGKILL)
	_ = unix.Setpriority(unix.PRIO_PGRP, group, niceLeast)
}

// speed gives all that is left in a cgroup the highest priority, each thread and each
// session ("autogroup") of it: where the kernel shares the processor out by session, that of
// a thread counts within its session only.
//
// leader is the process whose group has had that already.
func speed(dir string, leader int) {
	pids := pidsIn(dir)
	if len(pids) == 0 {
		return
	}
	if group, err := unix.Getpgid(pids[0]); len(pids) > 1 || err != nil || group != leader {
		for _, tid := range readPids(filepath.Join(dir, "cgroup.threads")) {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, niceLeast)
		}
	}
	own, _ := unix.Getsid(0)
	for _, pid := range pids {
		if pid == os.Getpid() {
			continue
		}
		if session, err := unix.Getsid(pid); err == nil && session != own {
			_ = writeKernel(fmt.Sprintf("/proc/%d/autogroup", pid), strconv.Itoa(niceLeast))
		}
	}
}
