package process

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backplane/leptir/host/process/sandbox"
)

// Reason says why a plugin process ended, or never came to life: a closed set, the same
// in records, reports, metrics and logs.
type Reason string

// The reasons.
const (
	ReasonTimeout   Reason = "timeout"     // killed at a task's time limit
	ReasonMemory    Reason = "memory"      // killed at, or died of, its memory limit
	ReasonSignal    Reason = "signal"      // died of a signal that leptir did not send
	ReasonExit      Reason = "exit code"   // ended by itself, with any code
	ReasonHandshake Reason = "handshake"   // never got as far as serving
	ReasonProtocol  Reason = "protocol"    // broke the rules of the stream; killed
	ReasonLost      Reason = "lost stream" // lives, but its connection is gone; killed
	ReasonShutdown  Reason = "host shutdown"
	ReasonCancelled Reason = "cancelled" // killed because its task was cancelled
	ReasonLease     Reason = "lost lease"
	ReasonRetired   Reason = "retired" // ended by the host between tasks: recycled or replaced
	ReasonLimit     Reason = "limit"   // killed at a limit of its block limits {} other than memory
)

// Reasons returns the closed set.
func Reasons() []Reason {
	return []Reason{ReasonTimeout, ReasonMemory, ReasonLimit, ReasonSignal, ReasonExit, ReasonHandshake, ReasonProtocol,
		ReasonLost, ReasonShutdown, ReasonCancelled, ReasonLease, ReasonRetired}
}

// Exit is the end of a process.
type Exit struct {
	Reason Reason
	Code   int            // exit code; -1 where a signal ended it
	Signal syscall.Signal // 0 where it exited
	// Detail is what is known beyond the reason, for people; often empty.
	Detail string
	// At is when it was reaped. CPU and PeakMemory (bytes) are the kernel's account of all
	// that it had started, where it was in a cgroup or its limits were sampled; else of it and
	// of the children that it waited for.
	At         time.Time
	CPU        time.Duration
	PeakMemory int64
	// Output holds the last lines that it wrote to stderr or stdout, oldest first. Of a process
	// that kept its mark and died in a task, none that was read before the task began.
	Output []string
	// Dump is what it wrote when it was told to abort: the stacks of its goroutines, where it
	// is written in Go.
	Dump string
}

// String says in a few words how the process ended, for messages.
func (e Exit) String() string {
	var s string
	switch {
	case e.Reason == ReasonSignal:
		s = "process died of " + SignalName(e.Signal)
	case e.Reason == ReasonExit:
		s = fmt.Sprintf("process exited with code %d", e.Code)
	case e.Reason == ReasonTimeout:
		s = "process killed at the time limit"
	case (e.Reason == ReasonMemory || e.Reason == ReasonLimit) && e.Detail != "":
		return e.Detail
	default:
		s = "process ended: " + string(e.Reason)
	}
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

// SignalName returns a signal's usual name, for example SIGSEGV.
func SignalName(s syscall.Signal) string {
	if n := unix.SignalName(s); n != "" {
		return n
	}
	return fmt.Sprintf("signal %d", int(s))
}

// exitOf reads the kernel's account of an ended process. intended is the reason for which
// leptir killed it, or "".
func exitOf(st *os.ProcessState, intended Reason, detail string, cell *sandbox.Cell, now time.Time) Exit {
	e := Exit{Reason: intended, Detail: detail, At: now, Code: -1}
	if st == nil {
		e.Reason = ReasonLost
		return e
	}
	e.CPU = st.UserTime() + st.SystemTime()
	if ru, ok := st.SysUsage().(*syscall.Rusage); ok {
		e.PeakMemory = ru.Maxrss << 10 // Linux counts in KiB
	}
	var breach *sandbox.Breach
	if cell != nil {
		u := cell.Usage()
		e.CPU = max(e.CPU, u.CPU)
		if u.PeakMemory > 0 {
			e.PeakMemory = u.PeakMemory
		}
		breach = cell.Breach(u)
	}
	ws, _ := st.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		e.Signal = ws.Signal()
	} else {
		e.Code = ws.ExitStatus()
	}
	if e.Reason == ReasonLost && (ws.Exited() || ws.Signaled() && ws.Signal() != syscall.SIGKILL) {
		// It was dying by itself, slowly; its own end tells more than our kill.
		e.Reason, e.Detail = "", ""
	}
	switch {
	case breach != nil && (e.Reason == "" && e.Code != 0 || e.Reason == ReasonLost || e.Reason == ReasonHandshake):
		e.Reason, e.Detail = reasonOf(breach), breach.Detail
	case e.Reason == "" && ws.Signaled():
		e.Reason = ReasonSignal
	case e.Reason == "":
		e.Reason = ReasonExit
	}
	return e
}
