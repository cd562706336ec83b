package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// procStat is what /proc tells of one process.
type procStat struct {
	state   byte
	ppid    int
	group   int
	session int
	threads int
	ticks   int64 // processor time, in the kernel's ticks
	start   int64 // ticks since boot: with the pid, it names a process for good
	rss     int64 // bytes
}

var pageSize = int64(os.Getpagesize())

// readStat reads /proc/PID/stat or a thread's.
func readStat(path string) (s procStat, ok bool) {
	b, err := readKernel(path)
	if err != nil {
		return s, false
	}
	return parseStat(b)
}

// parseStat reads what follows the command's name, which may hold anything.
func parseStat(b []byte) (s procStat, ok bool) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return s, false
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 22 || len(f[0]) != 1 {
		return s, false
	}
	at := func(i int) int64 {
		n, err := strconv.ParseInt(string(f[i]), 10, 64)
		if err != nil {
			ok = false
		}
		return n
	}
	ok = true
	s = procStat{state: f[0][0], ppid: int(at(1)), group: int(at(2)), session: int(at(3)), ticks: at(11) + at(12),
		threads: int(at(17)), start: at(19), rss: at(21) * pageSize}
	return s, ok
}

func statOf(pid int) (procStat, bool) { return readStat(fmt.Sprintf("/proc/%d/stat", pid)) }

// childrenOf returns the children of a process that all of its threads have.
func childrenOf(pid int) (pids []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		pids = append(pids, readPids(file)...)
	}
	return pids
}

// threadsOf returns the threads of a process.
func threadsOf(pid int) (tids []int) {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids
}

func readPids(file string) []int {
	b, err := readKernel(file)
	if err != nil {
		return nil
	}
	return parsePids(b)
}

func parsePids(b []byte) (pids []int) {
	for f := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// maxTree bounds how many processes of a tree are looked at: a plugin decides how many
// there are.
const maxTree = 4096

// treeOf returns a process and all its descendants that can be found by parenthood.
func treeOf(roots ...int) (pids []int) {
	pids = append(pids, roots...)
	for i := 0; i < len(pids) && len(pids) < maxTree; i++ {
		pids = append(pids, childrenOf(pids[i])...)
	}
	return pids
}

// cookieOf returns the value of a variable in a process's environment as it was started
// with, "" where it has none or nobody may look.
func cookieOf(pid int, variable string) string {
	value, _ := lookupEnv(pid, variable)
	return value
}

// lookupEnv is like cookieOf, and reports whether there is any environment: a process that is
// just about to execute a program has none.
func lookupEnv(pid int, variable string) (value string, any bool) {
	b, err := readKernel(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return "", false
	}
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if s, ok := bytes.CutPrefix(v, []byte(variable+"=")); ok {
			return string(s), true
		}
	}
	return "", len(b) > 0
}

// killIf kills a process for which is still holds once it cannot be another any more: a pid
// alone may have gone to somebody else by now.
func killIf(pid int, is func() bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if err == unix.ENOSYS && is() { // before Linux 5.3
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		return
	}
	defer unix.Close(fd)
	if is() {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// busiestThread returns the thread of a process that is running now and has used the most
// processor time, 0 where none runs.
func busiestThread(pid int) (tid int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	most := int64(-1)
	for _, file := range files {
		s, ok := readStat(file)
		if !ok || s.state != 'R' {
			continue
		}
		if used := max(s.ticks*tick, firstNumber(filepath.Join(filepath.Dir(file), "schedstat"))); used > most {
			most = used
			tid, _ = strconv.Atoi(filepath.Base(filepath.Dir(file)))
		}
	}
	return tid
}

// tick is the unit of processor time in /proc/PID/stat, in ns; schedstat has them exactly.
const tick = int64(time.Second / 100)

func firstNumber(path string) int64 {
	b, _ := readKernel(path)
	first, _, _ := strings.Cut(string(b), " ")
	n, _ := strconv.ParseInt(first, 10, 64)
	return n
}

// SignalBusiest sends a signal to the thread of a process that is the busiest, so that it is
// that thread which handles it, or to the process where none runs. Whoever calls it has not
// reaped the process.
func SignalBusiest(pid int, sig unix.Signal) {
	if tid := busiestThread(pid); tid != 0 && unix.Tgkill(pid, tid, sig) == nil {
		return
	}
	_ = unix.Kill(pid, sig)
}
