package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/host/pidfile"
	"github.com/backplane/leptir/host/presence"
)

const (
	// hostLook is how often a host is looked at that is waited for, and hostRemind how often
	// it is said that nothing has changed.
	hostLook   = 50 * time.Millisecond
	hostRemind = 5 * time.Second
	// nowAfter is how long after a host has begun to stop a second signal is one: two that
	// come at once count as one.
	nowAfter = time.Second
)

// hostCommands returns the commands for a host on this machine.
func (p *program) hostCommands() []*cobra.Command {
	return []*cobra.Command{p.stopCommand(), p.reloadCommand(), p.runningCommand()}
}

// hostFlags adds the flags by which a host is found.
func hostFlags(cmd *cobra.Command, pid *string) {
	cmd.Flags().SortFlags = false
	cmd.Flags().Var(newValue(pid, "FILE", nonEmpty), "pid", "the host's pid file; by default "+presence.PidFile+" in the state folder that the configuration names")
}

func (p *program) stopCommand() *cobra.Command {
	var pid string
	var timeout time.Duration
	var now bool
	cmd := &cobra.Command{
		Use:   "stop [flags]",
		Short: "Stop the host on this machine.",
		Long: "Stop the host on this machine, and wait until it has ended. The host takes no new tasks, gives back what has not begun, and waits for " +
			"running tasks for as long as its shutdown_timeout says; what runs then is killed and given back, with its attempt uncounted.\n\n" +
			"Interrupting leptirctl ends the wait only; the host goes on stopping.",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.stopHost(cmd.Context(), pid, timeout, now) },
	}
	hostFlags(cmd, &pid)
	cmd.Flags().Var(newValue(&timeout, "DURATION", duration), "timeout", "wait no longer than this, and fail then; the host goes on stopping (default: as long as it takes)")
	cmd.Flags().BoolVar(&now, "now", false, "do not wait for running tasks: they are killed and given back")
	return cmd
}

func (p *program) reloadCommand() *cobra.Command {
	var pid string
	timeout := time.Minute
	cmd := &cobra.Command{
		Use:   "reload [flags]",
		Short: "Have the host on this machine read its configuration anew.",
		Long: "Have the host on this machine read its configuration anew and reopen its log files, and print what has changed. What cannot be changed " +
			"while it runs (brokers, meta storages, folders) is named; it needs a restart. A configuration that is not valid changes nothing: the exit code is 1 then.",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.reloadHost(cmd.Context(), pid, timeout) },
	}
	hostFlags(cmd, &pid)
	cmd.Flags().Var(newValue(&timeout, "DURATION", duration), "timeout", "wait no longer than this for the host's answer (default: 1m)")
	return cmd
}

func (p *program) runningCommand() *cobra.Command {
	var pid string
	cmd := &cobra.Command{
		Use:   "running [flags]",
		Short: "Say whether a host runs on this machine.",
		Long:  "Say whether a host runs on this machine, and since when. The exit code is 1 if it does not.",
		Args:  arguments(),
		RunE:  func(*cobra.Command, []string) error { return p.hostRunning(pid) },
	}
	hostFlags(cmd, &pid)
	return cmd
}

// localHost is a host on this machine.
type localHost struct {
	pidfile.Identity
	pidPath string
}

// status returns what the host says of itself; the zero value where it says nothing, which
// is no reason not to signal it.
func (h localHost) status() presence.Status {
	s, _ := presence.ReadStatus(h.pidPath, h.Identity)
	return s
}

// findHost returns the host of a pid file, or of that in the state folder. It is an error if
// it does not run.
func (p *program) findHost(pidPath string) (localHost, error) {
	if pidPath == "" {
		cfg, _, err := p.load()
		if err != nil {
			return localHost{}, err
		}
		pidPath = filepath.Join(string(cfg.Host.StateDir), presence.PidFile)
	}
	id, err := pidfile.Read(pidPath)
	if errors.Is(err, fs.ErrNotExist) {
		return localHost{}, fmt.Errorf("no host runs here: there is no pid file %s", pidPath)
	}
	if err != nil {
		return localHost{}, err
	}
	running, err := id.Running()
	if err != nil {
		return localHost{}, err
	}
	if !running {
		return localHost{}, fmt.Errorf("no host runs here: the pid file %s was left by process %d, which has ended", pidPath, id.PID)
	}
	return localHost{id, pidPath}, nil
}

// tell prints a line at once.
func (p *program) tell(format string, args ...any) {
	fmt.Fprintf(p.out, format+"\n", args...)
	_ = p.out.Flush() // its first error stays, and is reported at the end
}

func (p *program) stopHost(ctx context.Context, pidPath string, timeout time.Duration, now bool) error {
	h, err := p.findHost(pidPath)
	if err != nil {
		return err
	}
	begin := time.Now()
	if h.status().State == presence.Stopping {
		// A second signal would kill its tasks.
		p.tell("process %d is stopping already", h.PID)
	} else {
		if err := h.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		p.tell("stopping process %d", h.PID)
	}
	wait := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	tick := time.NewTicker(hostLook)
	defer tick.Stop()
	var told time.Time
	tasks, killed := 0, false
	for {
		running, err := h.Running()
		if err != nil {
			return err
		}
		if !running {
			p.tell("stopped after %s", time.Since(begin).Round(10*time.Millisecond))
			return nil
		}
		s := h.status()
		if s.State == presence.Stopping {
			if s.Tasks != tasks || s.Tasks > 0 && time.Since(told) >= hostRemind {
				tasks, told = s.Tasks, time.Now()
				p.tell("waiting for %s (%s)", count(tasks, "running task", "running tasks"), time.Since(begin).Round(time.Second))
			}
			if now && !killed && time.Since(s.Since) >= nowAfter {
				killed = true
				if err := h.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, pidfile.ErrNotRunning) {
					return err
				}
				p.tell("running tasks are killed and given back")
			}
		}
		select {
		case <-tick.C:
		case <-wait.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("the host goes on stopping: %w", ctx.Err())
			}
			return fmt.Errorf("the host has not ended within %s, %s left; it goes on stopping. With -now running tasks are given back at once", timeout, count(tasks, "running task", "running tasks"))
		}
	}
}

func (p *program) reloadHost(ctx context.Context, pidPath string, timeout time.Duration) error {
	h, err := p.findHost(pidPath)
	if err != nil {
		return err
	}
	before, err := presence.ReadStatus(h.pidPath, h.Identity)
	if err != nil {
		return err
	}
	if before.State == presence.Stopping {
		return fmt.Errorf("process %d is stopping", h.PID)
	}
	if err := h.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	wait := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	tick := time.NewTicker(hostLook)
	defer tick.Stop()
	for {
		// One that had begun before the signal may have read the file before it was changed.
		if s := h.status(); s.Reload.Number > before.Reloads {
			return p.printReload(s.Reload)
		} else if s.State == presence.Stopping {
			return fmt.Errorf("process %d is stopping", h.PID)
		}
		if running, err := h.Running(); err != nil || !running {
			return errors.Join(err, fmt.Errorf("process %d has ended", h.PID))
		}
		select {
		case <-tick.C:
		case <-wait.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("process %d has not answered within %s; see its log", h.PID, timeout)
		}
	}
}

// printReload prints the host's answer. What is wrong is several lines, with parts of the
// configuration file.
func (p *program) printReload(r presence.Reload) error {
	for _, line := range r.Lines {
		text := strings.TrimLeft(line, " ")
		p.tell("%s%s", line[:len(line)-len(text)], sentence(text))
	}
	if r.Failed {
		return errors.New("the host goes on as it was")
	}
	return nil
}

func (p *program) hostRunning(pidPath string) error {
	h, err := p.findHost(pidPath)
	if err != nil {
		return err
	}
	s := h.status()
	if s.State == "" {
		p.tell("process %d runs", h.PID)
		return nil
	}
	p.tell("process %d runs since %s: %s, version %s, configuration %s", h.PID, at(s.Started), sentence(s.State), sentence(s.Version), sentence(s.Config))
	return nil
}
