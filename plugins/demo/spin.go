package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

// childMode is the environment variable that makes the binary the child of a spin task;
// its value is for how many seconds it spins.
const childMode = "LEPTIR_DEMO_SPIN"

// defaultSpin bounds a spin that nobody kills, so a host under test that forgets one does
// not leave the machine busy for ever.
const defaultSpin = 300

type spinParams struct {
	// PIDFile is where the pids of the task's process and of its child are written, one a
	// line.
	PIDFile string  `json:"pid_file,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
}

// spin starts a child that computes and ignores every polite signal, and does so itself.
// Only SIGKILL ends the two.
func spin(_ context.Context, t *sdk.BaseTask, p spinParams) error {
	if p.Seconds == 0 {
		p.Seconds = defaultSpin
	}
	child, err := startChild(p.Seconds)
	if err != nil {
		return err
	}
	t.LogInfo("spin task spins", "pid", os.Getpid(), "child", child.Process.Pid)
	if p.PIDFile != "" {
		if err := writePIDs(p.PIDFile, os.Getpid(), child.Process.Pid); err != nil {
			return err
		}
	}
	spinFor(p.Seconds)
	return child.Wait()
}

// startChild starts this binary as a child and returns when that spins. The child keeps the process's own
// stderr open, as a careless daemon would.
func startChild(seconds float64) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the demo binary: %w", err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), childMode+"="+strconv.FormatFloat(seconds, 'g', -1, 64))
	stderr, err := syscall.Dup(2)
	if err != nil {
		return nil, fmt.Errorf("pass on stderr: %w", err)
	}
	syscall.CloseOnExec(stderr)
	out := os.NewFile(uintptr(stderr), "stderr")
	defer out.Close()
	child.Stderr = out
	ready, err := child.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the child: %w", err)
	}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("start the child: %w", err)
	}
	if _, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("wait for the child to ignore its signals: %w", err)
	}
	return child, nil
}

// writePIDs writes the file at once, whole, so that whoever waits for it can read it.
func writePIDs(path string, pids ...int) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".pids-*")
	if err != nil {
		return fmt.Errorf("write the pids: %w", err)
	}
	for _, pid := range pids {
		fmt.Fprintln(tmp, pid)
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("write the pids: %w", err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("write the pids: %w", err)
	}
	return nil
}

// spinAsChild is main in the child.
func spinAsChild() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	seconds, err := strconv.ParseFloat(os.Getenv(childMode), 64)
	if err != nil {
		os.Exit(2)
	}
	fmt.Println("ready")
	spinFor(seconds)
	os.Exit(0)
}

// spinFor keeps one core busy.
func spinFor(seconds float64) {
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for n := 0; ; n++ {
		if n%(1<<20) == 0 && time.Now().After(end) {
			return
		}
	}
}
