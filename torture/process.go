package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// envRun marks every process of a run, by the run's folder, so that those and no others are
// found: hosts and servers inherit it, plugins get it by their configuration.
const envRun = "TORTURE_RUN"

// envJournal is the folder of the journals, of hosts and plugins; envHost the name of the
// host, of its plugins only.
const (
	envJournal = "TORTURE_JOURNAL"
	envHost    = "TORTURE_HOST"
)

// spawner starts processes that end with this one, however it ends: the kernel sends the
// signal when the thread ends that made the process, so all are made by one that stays.
type spawner chan func()

func newSpawner() spawner {
	s := make(spawner)
	go func() {
		runtime.LockOSThread()
		for f := range s {
			f()
		}
	}()
	return s
}

// start starts cmd in a process group of its own.
func (s spawner) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	done := make(chan error)
	s <- func() { done <- cmd.Start() }
	return <-done
}

// marked returns the ids of the processes whose environment has all the given variables, but
// for this one and zombies.
func marked(vars ...string) (pids []int) {
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range folders {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || len(b) == 0 { // of a zombie it is empty
			continue
		}
		b = append([]byte{0}, b...)
		has := true
		for _, v := range vars {
			has = has && bytes.Contains(b, []byte("\x00"+v+"\x00"))
		}
		if has {
			pids = append(pids, pid)
		}
	}
	return pids
}

// command returns what a process was started as, for people.
func command(pid int) string {
	b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return string(bytes.ReplaceAll(bytes.TrimRight(b, "\x00"), []byte{0}, []byte{' '}))
}
