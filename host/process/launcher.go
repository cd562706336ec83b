package process

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/backplane/leptir/host/process/sandbox"
)

// Launcher starts processes and knows all that live. It is safe for concurrent use.
type Launcher struct {
	runDir  *runDir
	remains sandbox.Remains
	sandbox *sandbox.Sandbox
	logger  *slog.Logger
	hclog   hclog.Logger
	lines   chan Line
	wg      sync.WaitGroup // tidying goroutines of all processes

	watching   chan *watched
	throttling chan *throttled

	mu     sync.Mutex
	live   map[*Process]struct{}
	public *runDir // for processes of other users, made when first needed
	warned map[string]bool
	closed bool
	quit   chan struct{}
	sinkWG sync.WaitGroup
}

// Option changes what NewLauncher makes.
type Option func(*launcherOptions)

type launcherOptions struct{ machine *sandbox.Machine }

// OnMachine gives the Launcher what is known of the machine, for example which cgroup to
// make others in; by default it looks by itself.
func OnMachine(m *sandbox.Machine) Option { return func(o *launcherOptions) { o.machine = m } }

// NewLauncher returns a Launcher that keeps sockets and scratch folders in a new private
// folder below parent (below os.TempDir() where that path is too long for a socket), and passes
// what processes print to sink, one call at a time. gopluginLog gets go-plugin's own
// messages; its Named children must report level Off (see logging.HCLog).
//
// What hosts that were killed have left there, processes and cgroups as well, is cleared away
// first.
func NewLauncher(parent string, logger *slog.Logger, gopluginLog hclog.Logger, sink func(Line), options ...Option) (*Launcher, error) {
	var o launcherOptions
	for _, option := range options {
		option(&o)
	}
	if o.machine == nil {
		o.machine = sandbox.Look("")
	}
	// A socket's path may be 107 bytes long, of which go-plugin and we add up to 60.
	if len(parent) > 45 {
		parent = publicParent()
	}
	l := &Launcher{logger: logger, hclog: gopluginLog, lines: make(chan Line, sinkQueue), watching: make(chan *watched), throttling: make(chan *throttled, throttleQueue),
		live: map[*Process]struct{}{}, quit: make(chan struct{})}
	l.sandbox = sandbox.New(o.machine, strings.ReplaceAll(uuid.NewString(), "-", ""))
	l.remains = l.sandbox.Remains()
	var err error
	if l.runDir, err = l.newRunDir(parent, modePrivate); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(publicParent()); err == nil && parent != publicParent() && os.Geteuid() == 0 {
		// Processes of other users lived here.
		l.public, err = l.newRunDir(publicParent(), modePublic)
		if err != nil {
			_ = l.runDir.remove()
			return nil, err
		}
	}
	l.sinkWG.Go(l.watch)
	l.sinkWG.Go(l.throttleAll)
	l.sinkWG.Go(func() {
		for {
			select {
			case line := <-l.lines:
				sink(line)
			case <-l.quit:
				for {
					select {
					case line := <-l.lines:
						sink(line)
					default:
						return
					}
				}
			}
		}
	})
	return l, nil
}

// publicParent is the folder of the run folders of processes that run as other users: unlike
// the host's own it can be reached by them.
func publicParent() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("leptir-%d", os.Geteuid()))
}

func (l *Launcher) newRunDir(parent string, mode os.FileMode) (*runDir, error) {
	dir, killed, swept, err := newRunDir(parent, mode, l.remains)
	if killed > 0 {
		l.logger.Warn("killed processes that a host had left behind which was killed", "processes", killed)
	}
	if swept != nil {
		l.logger.Warn("cannot clear away all that a dead host has left", "error", swept)
	}
	if err != nil {
		return nil, fmt.Errorf("make the folder for sockets: %w", err)
	}
	return dir, nil
}

// folder returns the run folder for a process.
func (l *Launcher) folder(spec *Spec) (string, error) {
	if spec.Limits.RunAs == "" {
		return l.runDir.path, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.public == nil {
		dir, err := l.newRunDir(publicParent(), modePublic)
		if err != nil {
			return "", err
		}
		l.public = dir
	}
	return l.public.path, nil
}

// Close kills every process that still lives, waits until all is tidied up (at most
// tidyTimeout longer than the processes take to die) and removes the Launcher's folder.
func (l *Launcher) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	live := make([]*Process, 0, len(l.live))
	for p := range l.live {
		live = append(live, p)
	}
	l.mu.Unlock()
	for _, p := range live {
		p.Kill(ReasonShutdown, "")
	}
	l.wg.Wait()
	close(l.quit)
	l.sinkWG.Wait()
	err := errors.Join(l.sandbox.Close(), l.runDir.remove())
	if l.public != nil {
		err = errors.Join(err, l.public.remove())
	}
	return err
}

// warnOnce warns of what is wrong with a plugin's processes, unless it has been said before.
func (l *Launcher) warnOnce(msg, plugin, problem string) {
	l.mu.Lock()
	key := plugin + "\x00" + problem
	again := l.warned[key]
	if l.warned == nil {
		l.warned = map[string]bool{}
	}
	l.warned[key] = true
	l.mu.Unlock()
	if !again {
		l.logger.Warn(msg, "plugin", plugin, "problem", problem)
	}
}

// Live returns how many processes have been started and not been reaped.
func (l *Launcher) Live() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.live)
}

// Working returns how many of the live processes were started to run tasks.
func (l *Launcher) Working() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.live {
		if !p.spec.NoTasks {
			n++
		}
	}
	return n
}

// PIDs returns the ids of the processes that have been started and not been reaped, in no
// order.
func (l *Launcher) PIDs() []int {
	l.mu.Lock()
	live := make([]*Process, 0, len(l.live))
	for p := range l.live {
		live = append(live, p)
	}
	l.mu.Unlock()
	pids := make([]int, 0, len(live))
	for _, p := range live {
		if pid := p.PID(); pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// register counts p among the live, unless the Launcher is closed.
func (l *Launcher) register(p *Process) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	p.runner = newGroupRunner(p.spec.Path, p.spec.Args)
	p.runner.warn = func(msg string, err error) { l.logger.Warn(msg, "plugin", p.spec.Plugin, "error", err) }
	p.runner.forked = l.throttle
	l.live[p] = struct{}{}
	l.wg.Add(1)
	return true
}

func (l *Launcher) forget(p *Process) {
	l.mu.Lock()
	delete(l.live, p)
	l.mu.Unlock()
	l.wg.Done()
}
