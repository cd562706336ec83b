package rig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a program that runs beside the measuring one, and ends with it.
type Process struct {
	cmd   *exec.Cmd
	said  bytes.Buffer
	ended chan struct{}
	err   error
}

// StartProcess starts a program in a folder. What it prints is shown only in errors.
func StartProcess(dir string, env []string, path string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Said returns the end of what an ended process has printed.
func (p *Process) Said() string {
	<-p.ended
	b := p.said.Bytes()
	return string(b[max(0, len(b)-2000):])
}

// Kill ends it as a crash would, with its process group, and waits for that.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.ended
}

// Stop asks it to end, waits for that, and kills it if that takes longer than patience.
func (p *Process) Stop(patience time.Duration) error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended by itself: %v: %s", p.cmd.Path, p.err, p.Said())
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-p.ended:
	case <-late.C:
		p.Kill()
		return fmt.Errorf("%s did not end within %v: %s", p.cmd.Path, patience, p.Said())
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // what it has left behind
	return nil
}

// Usage is what a process has used so far.
type Usage struct {
	CPU      time.Duration // user and system
	Reaped   time.Duration // that of its children that have ended
	Resident int64         // bytes now
	Peak     int64         // most bytes so far
}

// UsageOf reads the usage of a running process.
func UsageOf(pid int) (u Usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The name, in brackets, may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 15 {
		return u, fmt.Errorf("/proc/%d/stat is strange", pid)
	}
	const tick = 10 * time.Millisecond // of all Linux that there is
	for i, f := range fields[11:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, err
		}
		if i < 2 {
			u.CPU += time.Duration(n) * tick
		} else {
			u.Reaped += time.Duration(n) * tick
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case name == "VmRSS":
			u.Resident = kb << 10
		case name == "VmHWM":
			u.Peak = kb << 10
		}
	}
	return u, nil
}

// ChildrenOf returns the processes whose parent is pid.
func ChildrenOf(pid int) (children []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			children = append(children, child)
		}
	}
	return children
}

// Wait sleeps for d, or until ctx ends.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
