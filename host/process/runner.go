package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin/runner"
	"golang.org/x/sys/unix"

	"github.com/backplane/leptir/host/process/sandbox"
	"github.com/backplane/leptir/internal/protocol"
)

// pipeGrace is how long the pipes of a dead process are still read: for its last lines,
// and no longer, since a grandchild that has escaped may hold them open for ever.
const pipeGrace = 100 * time.Millisecond

// settleAfter is how long a process lives before its place among the victims of a machine that
// runs out of memory is set. That is looked up below /proc, which the kernel has to forget again
// when the process ends: of one that runs a single short task it would cost as much as the fork.
const settleAfter = 250 * time.Millisecond

// groupRunner runs one plugin process in a process group and a cell of its own,
// and is the only one that kills it. It implements go-plugin's runner.Runner, but shows go-plugin only the
// handshake line of stdout and nothing of stderr: go-plugin's readers block on long lines
// and panic on hostile ones.
type groupRunner struct {
	cmd       *exec.Cmd
	dir       string // private folder, removed when the process is gone
	socketDir string // folder below dir in which the plugin's socket must lie
	out       *output
	cell      *sandbox.Cell // what it is confined in
	warn      func(msg string, err error)
	forked    func(*groupRunner) // told when the process is there

	stdout, stderr, lifeline *os.File
	hsRead                   *io.PipeReader
	hsWrite                  *io.PipeWriter
	mark                     *mark
	death                    death

	procID atomic.Int64 // the pid; 0 before the start

	mu       sync.Mutex
	begun    bool // Start has been called
	started  bool
	settling *time.Timer
	reaped   bool   // the pid may belong to somebody else from now on
	intended Reason // why the first kill was sent
	detail   string
	refused  error  // a handshake that could not be accepted
	address  string // the plugin's socket, once the handshake has told it

	done     chan struct{} // closed once the process is reaped and its group gone
	drained  chan struct{} // closed once its pipes are read, too
	exit     Exit
	progress Progress
	shelves  [2][]byte // of the mark
}

var _ runner.Runner = (*groupRunner)(nil)

func newGroupRunner(path string, args []string) *groupRunner {
	r := &groupRunner{done: make(chan struct{}), drained: make(chan struct{})}
	r.hsRead, r.hsWrite = io.Pipe()
	r.cmd = exec.Command(path, args...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: r.death.descriptor()}
	return r
}

// Start starts the process. The context is not needed: nothing here waits for the plugin.
func (r *groupRunner) Start(context.Context) (err error) {
	r.mu.Lock()
	r.begun = true
	r.mu.Unlock()
	var files []*os.File
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			if r.mark != nil {
				r.mark.close()
			}
			r.death.close()
			r.nothingStarted()
		}
	}()
	pipe := func() (rd, wr *os.File) {
		if err == nil {
			if rd, wr, err = os.Pipe(); err == nil {
				files = append(files, rd, wr)
			}
		}
		return rd, wr
	}
	inR, inW := pipe()
	outR, outW := pipe()
	errR, errW := pipe()
	if err != nil {
		return fmt.Errorf("make pipes: %w", err)
	}
	if r.mark, err = newMark(); err != nil {
		return err
	}
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = inR, outW, errW
	r.cmd.ExtraFiles = []*os.File{r.mark.file}
	r.cmd.Env = append(r.cmd.Env, protocol.EnvMarkFD+"=3")
	if err = r.fork(); err != nil {
		return err
	}
	inR.Close()
	outW.Close()
	errW.Close()
	r.stdout, r.stderr, r.lifeline = outR, errR, inW

	r.procID.Store(int64(r.cmd.Process.Pid))
	r.mu.Lock()
	r.started = true
	r.settling = time.AfterFunc(settleAfter, r.settle)
	killed := r.intended != ""
	r.mu.Unlock()
	if killed {
		r.killGroup()
		r.cell.Kill()
	}

	var readers sync.WaitGroup
	readers.Go(func() {
		w := r.out.writer("stdout")
		filterStdout(&calm{Reader: r.stdout, out: r.out}, r.hsWrite, w, r.refuse)
		w.flush()
	})
	readers.Go(func() {
		w := r.out.writer("stderr")
		_, _ = io.Copy(w, &calm{Reader: r.stderr, out: r.out})
		w.flush()
	})
	go r.reap(&readers)
	r.forked(r)
	return nil
}

// settle does what is only worth it for a process that lives for a while.
func (r *groupRunner) settle() {
	r.mu.Lock() // keeps the pid from being reaped, and from going to somebody else
	defer r.mu.Unlock()
	if !r.reaped {
		r.cell.Settle()
	}
}

// fork starts the process in its cell.
func (r *groupRunner) fork() error {
	path := r.cmd.Path
	if r.cell.Identity() != nil {
		// The binary lies in a folder of the host's, which its user may not enter: it is
		// started by a descriptor.
		binary, err := os.Open(path)
		if err != nil {
			return err
		}
		defer binary.Close()
		r.cmd.ExtraFiles = append(r.cmd.ExtraFiles, binary)
		r.cmd.Path = fmt.Sprintf("/proc/self/fd/%d", 2+len(r.cmd.ExtraFiles))
	}
	err := r.cell.Start(r.cmd.SysProcAttr, func() (int, error) {
		err := r.cmd.Start()
		if errors.Is(err, syscall.ETXTBSY) {
			// Another thread's fork held the file open for writing for a moment
			// (golang/go#22315); it has gone by its exec.
			time.Sleep(10 * time.Millisecond)
			r.cmd = cloneCmd(r.cmd)
			err = r.cmd.Start()
		}
		if err != nil {
			return 0, err
		}
		return r.cmd.Process.Pid, nil
	})
	if perr, ok := errors.AsType[*os.PathError](err); ok && perr.Path == r.cmd.Path {
		perr.Path = path
	}
	return err
}

// nothingStarted ends a runner whose process has never come to be.
func (r *groupRunner) nothingStarted() {
	_ = r.hsWrite.Close()
	r.leave()
	close(r.drained)
	close(r.done)
}

// leave removes what the process lived in.
func (r *groupRunner) leave() {
	if r.cell != nil {
		if err := r.cell.Close(); err != nil {
			r.warn("cannot remove what a process was confined in", err)
		}
	}
	if err := r.removeFolder(); err != nil {
		r.warn("cannot remove a process's folder", err)
	}
}

// removeFolder removes the process's folder. Mostly there is nothing in it but what every process
// has there, which goes by its names: to look what there is takes three times as many calls.
func (r *groupRunner) removeFolder() error {
	r.mu.Lock()
	socket := r.address
	r.mu.Unlock()
	if r.socketDir != "" {
		if socket != "" {
			// The folder may be the process's own: it could have put a link in its place.
			if fd, err := unix.Open(r.socketDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
				_ = unix.Unlinkat(fd, filepath.Base(socket), 0)
				_ = unix.Close(fd)
			}
		}
		_ = unix.Rmdir(r.socketDir)
	}
	_ = unix.Rmdir(r.cmd.Dir)
	if err := unix.Rmdir(r.dir); err == nil {
		return nil
	}
	return os.RemoveAll(r.dir)
}

// abandon ends a runner that go-plugin has failed to call Start on; else it does nothing.
func (r *groupRunner) abandon() {
	r.mu.Lock()
	begun := r.begun
	r.begun = true
	r.mu.Unlock()
	if !begun {
		r.nothingStarted()
	}
}

func cloneCmd(c *exec.Cmd) *exec.Cmd {
	return &exec.Cmd{Path: c.Path, Args: c.Args, Env: c.Env, Dir: c.Dir, Stdin: c.Stdin, Stdout: c.Stdout,
		Stderr: c.Stderr, ExtraFiles: c.ExtraFiles, SysProcAttr: c.SysProcAttr}
}

// reap waits for the process, kills all that it has started and that is left, and closes
// everything that belonged to it.
func (r *groupRunner) reap(readers *sync.WaitGroup) {
	pid := r.cmd.Process.Pid
	// Wait without reaping first: as long as the dead leader is not reaped its pid, and so
	// the group's id, cannot go to somebody else.
	r.death.wait(pid)
	r.mu.Lock()
	sandbox.KillGroup(pid)
	r.reaped = true
	r.settling.Stop()
	r.mu.Unlock()
	r.cell.KillRest()
	_ = r.cmd.Wait() // stdio are files: whoever holds them, this returns
	r.cell.Dead()

	readersDone := make(chan struct{})
	go func() {
		readers.Wait()
		close(readersDone)
	}()
	grace := time.NewTimer(pipeGrace)
	defer grace.Stop()
	finished := false
	// A crash's last lines belong into its exit, and mostly are there within microseconds.
	select {
	case <-readersDone:
		finished = true
	case <-time.After(pipeGrace / 5):
	}

	// Of a process that has died in a task: what it had printed before belongs to others.
	own := uint64(0)
	if p := r.currentProgress(); p.Kept && p.Begun > p.Ended {
		own = p.Begun
	}
	output, dump := r.out.lastLines(own), r.out.dumped()
	r.mu.Lock()
	r.exit = exitOf(r.cmd.ProcessState, r.intended, r.detail, r.cell, time.Now())
	r.exit.Output, r.exit.Dump = output, dump
	r.progress, r.shelves = r.mark.read(), r.mark.shelves()
	r.mark.close()
	r.mu.Unlock()
	close(r.done)

	r.cell.Hunt()
	if !finished {
		select {
		case <-readersDone:
		case <-grace.C:
		}
	}
	r.stdout.Close()
	r.stderr.Close()
	r.lifeline.Close()
	_ = r.hsWrite.Close()
	<-readersDone
	r.leave()
	close(r.drained)
}

// intend says for which reason the process is about to end by itself.
func (r *groupRunner) intend(reason Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.intended == "" && !r.reaped {
		r.intended = reason
	}
}

func (r *groupRunner) wasStarted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started
}

// abort tells the process to write down its stacks and die, for the reason for which it is
// about to be killed.
func (r *groupRunner) abort(reason Reason, detail string) {
	r.out.beginDump()
	if r.wasStarted() {
		r.cell.Release()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.intended == "" && !r.reaped {
		r.intended, r.detail = reason, detail
	}
	if r.started && !r.reaped {
		sandbox.SignalBusiest(r.cmd.Process.Pid, syscall.SIGQUIT)
	}
}

// kill ends the process, and all that it has started, at once. The first reason given is the one that its
// exit tells. It does not wait.
func (r *groupRunner) kill(reason Reason, detail string) {
	r.mu.Lock()
	if r.intended == "" && !r.reaped {
		r.intended, r.detail = reason, detail
	}
	r.mu.Unlock()
	r.killGroup()
	if r.wasStarted() {
		r.cell.Kill()
	}
}

func (r *groupRunner) killGroup() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started && !r.reaped {
		sandbox.KillGroup(r.cmd.Process.Pid)
	}
}

func (r *groupRunner) refuse(err error) {
	r.mu.Lock()
	if r.refused == nil {
		r.refused = err
	}
	r.mu.Unlock()
	r.kill(ReasonHandshake, err.Error())
}

func (r *groupRunner) refusal() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}

// currentProgress reads the mark, also of a process that has died.
func (r *groupRunner) currentProgress() (p Progress) {
	if !r.withMark(func(m *mark) { p = m.read() }) {
		return r.progress
	}
	return p
}

// withMark lets f look at the mark, unless the process has died and it has been looked at for the
// last time.
func (r *groupRunner) withMark(f func(*mark)) bool {
	select {
	case <-r.done:
		return false
	default:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.exit.Reason != "" { // read and closed, done is closed or about to be
		return false
	}
	f(r.mark)
	return true
}

func (r *groupRunner) pid() int { return int(r.procID.Load()) }
