package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/backplane/leptir/task"
)

// deathPatience is how long a busy machine may take to end what is killed.
const deathPatience = 20 * time.Second

// host is one leptir-host: its configuration and, while it runs, its process.
type host struct {
	name    string
	dir     string
	program string
	journal string // folder
	spawn   spawner
	clock   *clock // nil: it cannot be wrong
	problem func(format string, args ...any)

	mu      sync.Mutex
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the process has ended
	wanted  bool          // it is to run: its end is not our doing
	starts  int
	stopped bool // SIGSTOP
}

// hostSettings is what the configurations of all hosts have in common.
type hostSettings struct {
	plugins, journal, run string // folders; the mark
	workers               int
	lease                 time.Duration
	drain                 time.Duration
	level                 string // of the log
}

const hostConfig = `host {
  name                   = %q
  plugin_dir             = %q
  state_dir              = %q
  number_of_workers      = %d
  lease_time             = "%v"
  shutdown_timeout       = "%v"
  task_execution_time    = "%v"
  empty_queue_sleep_time = 0.1
  max_attempts           = 100
  retry_backoff          = 0
  max_crashes            = 200
}

logger "file" "log" {
  path     = %q
  level    = %q
  format   = "json"
  max_size = 0
}

plugin "torture" {
  start_timeout = "5s"
  environment = {
    TORTURE_RUN     = %q
    TORTURE_HOST    = %q
    TORTURE_JOURNAL = %q
  }
}
`

// configure writes the host's configuration.
func (h *host) configure(s *hostSettings, blocks string) error {
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return err
	}
	text := fmt.Sprintf(hostConfig, h.name, s.plugins, filepath.Join(h.dir, "state"), s.workers, s.lease, s.drain, limitOfTasks,
		filepath.Join(h.dir, "log"), s.level, s.run, h.name, s.journal)
	return os.WriteFile(filepath.Join(h.dir, "leptir.hcl"), []byte(text+blocks), 0o600)
}

// start starts the process; what it prints goes to a file of its own.
func (h *host) start() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.startLocked()
}

func (h *host) startLocked() error {
	h.starts++
	out, err := os.Create(filepath.Join(h.dir, fmt.Sprintf("out.%d", h.starts)))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(h.program, "-config", filepath.Join(h.dir, "leptir.hcl"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = h.dir, out, out
	cmd.Env = append(os.Environ(), envJournal+"="+h.journal)
	if h.clock != nil {
		cmd.Env = append(cmd.Env, envClock+"="+h.clock.file)
	}
	if err := h.spawn.start(cmd); err != nil {
		return fmt.Errorf("start host %s: %w", h.name, err)
	}
	ended := make(chan struct{})
	h.cmd, h.ended, h.wanted = cmd, ended, true
	go func() {
		err := cmd.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		close(ended)
		h.look(out.Name())
		if h.wanted && h.cmd == cmd {
			// It has ended by itself: that is for the report. The others need it all the same.
			h.problem("host %s ended by itself (%v): %s", h.name, err, tail(out.Name()))
			time.Sleep(500 * time.Millisecond)
			if err := h.startLocked(); err != nil {
				h.problem("%v", err)
			}
		}
	}()
	return nil
}

// look searches what an ended host has printed for what it never should.
func (h *host) look(file string) {
	b, _ := os.ReadFile(file)
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(string(b), bad) {
			h.problem("host %s printed %q: see %s", h.name, bad, file)
		}
	}
}

func tail(file string) string {
	b, _ := os.ReadFile(file)
	return strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}

// lostLeases adds when the host has told, in its log, that it had lost the leases of tasks.
func (h *host) lostLeases(lost map[task.ID][]time.Time) error {
	b, err := os.ReadFile(filepath.Join(h.dir, "log"))
	if err != nil {
		return err
	}
	for line := range bytes.Lines(b) {
		var l struct {
			Time      time.Time
			Msg, Task string
			Tasks     any
		}
		if json.Unmarshal(line, &l) != nil {
			continue // cut off by a kill
		}
		switch {
		case strings.HasPrefix(l.Msg, "lease lost;"):
			lost[task.ID(l.Task)] = append(lost[task.ID(l.Task)], l.Time)
		case strings.HasPrefix(l.Msg, "tasks were settled too late"):
			for _, id := range strings.Fields(strings.Trim(fmt.Sprint(l.Tasks), "[]")) {
				lost[task.ID(id)] = append(lost[task.ID(id)], l.Time)
			}
		}
	}
	return nil
}

// kill ends the host as a crash does, and sees to it that its plugin processes end with it.
func (h *host) kill() error {
	h.mu.Lock()
	cmd, ended := h.cmd, h.ended
	h.wanted, h.stopped = false, false
	h.mu.Unlock()
	if cmd == nil {
		return nil
	}
	_ = cmd.Process.Kill()
	if !within(ended, deathPatience) {
		return fmt.Errorf("host %s does not end by SIGKILL", h.name)
	}
	for end := time.Now().Add(deathPatience); ; time.Sleep(10 * time.Millisecond) {
		left := h.plugins()
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("host %s is dead, and its plugin processes %v live on", h.name, left)
		}
	}
}

// drain ends the host in good order.
func (h *host) drain(patience time.Duration) error {
	h.mu.Lock()
	cmd, ended := h.cmd, h.ended
	h.wanted = false
	h.mu.Unlock()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if !within(ended, patience) {
		return errors.Join(fmt.Errorf("host %s has not ended within %v of SIGTERM", h.name, patience), h.kill())
	}
	if left := h.plugins(); len(left) > 0 {
		return fmt.Errorf("host %s has ended, and its plugin processes %v live on", h.name, left)
	}
	return nil
}

// signal sends SIGSTOP or SIGCONT.
func (h *host) signal(sig syscall.Signal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cmd != nil {
		_ = h.cmd.Process.Signal(sig)
	}
}

// plugins returns the ids of the host's plugin processes.
func (h *host) plugins() []int {
	return marked(envHost+"="+h.name, envJournal+"="+h.journal)
}

func within(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
