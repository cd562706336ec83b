package pidfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Identity names one process for good. A pid alone does not: it is given to another process
// once its own has ended.
type Identity struct {
	PID int
	// Start is when the process started, in clock ticks since the machine did.
	Start uint64
	// Boot is the id of that start of the machine.
	Boot string
}

// ErrNotRunning says that the process that a pid file names has ended.
var ErrNotRunning = errors.New("the process is not running any more")

// Self returns the identity of this process.
func Self() (Identity, error) { return identify(os.Getpid()) }

// identify returns the identity of the process that has the pid now.
func identify(pid int) (Identity, error) {
	start, err := startOf(pid)
	if err != nil {
		return Identity{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Identity{}, fmt.Errorf("identify the machine's start: %w", err)
	}
	return Identity{PID: pid, Start: start, Boot: strings.TrimSpace(string(boot))}, nil
}

// startOf returns when the process that has the pid now was started. One that has ended and
// waits for its parent to notice does not count.
func startOf(pid int) (uint64, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			return 0, ErrNotRunning
		}
		return 0, fmt.Errorf("identify process %d: %w", pid, err)
	}
	// The second field is the program's name in brackets, which may have any character.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("identify process %d: /proc/%d/stat is not understood", pid, pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, ErrNotRunning
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("identify process %d: %w", pid, err)
	}
	return start, nil
}

// Running reports whether the very process runs.
func (id Identity) Running() (bool, error) {
	now, err := identify(id.PID)
	if errors.Is(err, ErrNotRunning) {
		return false, nil
	}
	return err == nil && now == id, err
}

// Signal sends a signal to the very process, and to no other that may have its pid by now.
// The error is ErrNotRunning if it has ended.
func (id Identity) Signal(sig syscall.Signal) error {
	p, err := os.FindProcess(id.PID) // a handle of the process: it stays with it whoever has its pid later
	if err != nil {
		return fmt.Errorf("process %d: %w", id.PID, err)
	}
	defer p.Release()
	running, err := id.Running()
	if err != nil {
		return err
	}
	if !running {
		return ErrNotRunning
	}
	switch err := p.Signal(sig); {
	case errors.Is(err, os.ErrProcessDone):
		return ErrNotRunning
	case err != nil:
		return fmt.Errorf("signal process %d: %w", id.PID, err)
	}
	return nil
}

// waitPoll is how often Wait looks.
const waitPoll = 20 * time.Millisecond

// Wait waits until the very process has ended, or for ctx's end, whose error it returns.
func (id Identity) Wait(ctx context.Context) error {
	tick := time.NewTicker(waitPoll)
	defer tick.Stop()
	for {
		if running, err := id.Running(); err != nil || !running {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// owner returns the real user of a process.
func owner(pid int) (uint32, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok && len(strings.Fields(rest)) > 0 {
			uid, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 32)
			return uint32(uid), err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status names no user", pid)
}
