package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// backgroundEnv says to a host that it is in the background already, and on which file
	// it tells its parent that it is up.
	backgroundEnv = "LEPTIR_HOST_BACKGROUND"
	// backgroundTimeout is how long a host may take to come up: it bounds its own steps.
	backgroundTimeout = 2 * openTimeout
	// maxStartOutput is how much is kept of what a host prints before it is up.
	maxStartOutput = 1 << 20
	// StderrFile is the file in the state folder that a host in the background has for its
	// standard error output: what the Go runtime prints of a crash goes there.
	StderrFile = "leptir-host.stderr"
)

// upLine is what a host in the background writes to its parent when it is up.
const upLine = "up\n"

// goIntoBackground starts the program once more, in a session of its own, and waits until
// it is up or has failed. What it has printed until then is printed here.
func goIntoBackground(args []string, stdout, stderr io.Writer) int {
	pid, printed, err := startBackground(args)
	_, _ = stderr.Write(printed) // there is nobody to be told of an error
	if err != nil {
		fmt.Fprintln(stderr, "leptir-host:", err)
		return exitFailed
	}
	if pid == 0 {
		return exitFailed // it has said why
	}
	fmt.Fprintf(stdout, "leptir-host runs in the background, as process %d\n", pid)
	return exitDone
}

// startBackground returns the pid of the host, 0 if it has failed and said so itself.
func startBackground(args []string) (pid int, printed []byte, err error) {
	up, upWrite, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer up.Close()
	out, outWrite, err := os.Pipe()
	if err != nil {
		upWrite.Close()
		return 0, nil, err
	}
	defer out.Close()
	cmd := exec.Command("/proc/self/exe", args...) // this very program, whatever lies at its path by now
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = outWrite, outWrite // not inherited by plugins: they have pipes of their own
	cmd.ExtraFiles = []*os.File{upWrite}
	cmd.Env = append(os.Environ(), backgroundEnv+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	upWrite.Close()
	outWrite.Close()
	if err != nil {
		return 0, nil, fmt.Errorf("go into the background: %w", err)
	}

	// Whoever interrupts this means the host.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		late := time.NewTimer(backgroundTimeout)
		defer late.Stop()
		for {
			select {
			case <-done:
				return
			case <-signals:
				_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
			case <-late.C:
				_ = cmd.Process.Kill()
			}
		}
	})
	var text bytes.Buffer
	wg.Go(func() {
		_, _ = io.Copy(&limited{w: &text, left: maxStartOutput}, out) // until the host lets go of it
	})
	said, _ := io.ReadAll(io.LimitReader(up, int64(len(upLine)))) // its end is the host's
	close(done)
	defer signal.Stop(signals)
	if string(said) == upLine {
		wg.Wait() // it has let go of its output before
		pid := cmd.Process.Pid
		return pid, text.Bytes(), cmd.Process.Release()
	}
	werr := cmd.Wait()
	wg.Wait()
	exit, ok := errors.AsType[*exec.ExitError](werr)
	switch {
	case werr == nil:
		return 0, text.Bytes(), errors.New("the host was stopped before it was up")
	case ok && exit.Exited():
		return 0, text.Bytes(), nil
	}
	return 0, text.Bytes(), fmt.Errorf("the host ended before it was up: %w", werr)
}

// limited passes on so many bytes and takes the rest.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	if _, err := l.w.Write(b[:n]); err != nil {
		return 0, err
	}
	return len(b), nil
}

// parent is the process that has started a host in the background and waits for it.
type parent struct{ file *os.File }

// parentOf returns the parent of a host in the background, nil in any other.
func parentOf() *parent {
	fd, err := strconv.Atoi(os.Getenv(backgroundEnv))
	if err != nil || fd < 3 {
		return nil
	}
	_ = os.Unsetenv(backgroundEnv) // no child of this process is meant
	unix.CloseOnExec(fd)
	return &parent{os.NewFile(uintptr(fd), "parent")}
}

// release tells the parent that the host is up, and lets go of everything that ties the host
// to it: its terminal and its working folder.
func (p *parent) release(stateDir string) error {
	errs := []error{replaceStandard(filepath.Join(stateDir, StderrFile)), os.Chdir("/")}
	_, err := p.file.WriteString(upLine)
	if errors.Is(err, syscall.EPIPE) {
		err = nil // it did not wait; all the same
	}
	return errors.Join(append(errs, err, p.file.Close())...)
}

// replaceStandard puts a file in the place of the standard outputs, and nothing in that of
// the standard input.
func replaceStandard(path string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	out := null
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err == nil {
		defer file.Close()
		out = file
	}
	return errors.Join(err, unix.Dup3(int(null.Fd()), 0, 0), unix.Dup3(int(out.Fd()), 1, 0), unix.Dup3(int(out.Fd()), 2, 0))
}
