// Package catalog owns the plugin folder: which plugin binaries there are, and which task
// types each serves. It finds binaries, copies each to a private place under its hash,
// starts it once to ask what it serves, and watches for changes. A changed binary takes
// over only when it has proven good, so a bad one never replaces a good one. It knows
// nothing of tasks, brokers or of the processes that run tasks.
//
// Every executable file in the folder is a plugin, but for hidden files, backups and
// unfinished downloads (see also folder.go). Its name is the file's. Removing the file is
// the way to stop serving it.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backplane/leptir/host/process"
)

const (
	// DefaultRescan is how often the folder is looked at where nothing tells of changes.
	DefaultRescan = 2 * time.Second
	// DefaultProbeTimeout is how long a plugin may take to say what it serves.
	DefaultProbeTimeout = 10 * time.Second
	// settle is how long a file must not have changed before it is taken up.
	settle = 200 * time.Millisecond
	// parallelProbes is how many plugins are copied and probed at once.
	parallelProbes = 4
	// openWait is how long Open waits for plugins that do not answer.
	openWait = 3 * time.Second
)

// Options says what a Catalog is to be.
type Options struct {
	// Dir is the plugin folder. It must exist.
	Dir string
	// StateDir is the host's private folder; it is made if need be. Copies of the
	// binaries go to its folder "plugins".
	StateDir string
	// Launcher starts the plugins to be probed. It must outlive the Catalog.
	Launcher *process.Launcher
	// Logger gets each change and each new problem, once. Nil discards them.
	Logger *slog.Logger
	// Spec returns how the plugin of that name is to be started; the Path is filled in.
	// It is called before each probe, from several goroutines. Nil: with nothing set.
	Spec func(name string) process.Spec
	// Allow returns why a binary must not be served as the plugin of that name; nil: it
	// may. It is called by several goroutines, for each binary before it is started, and
	// by Reload for those that are served. Nil allows all.
	Allow func(name, sha256 string) error
	// Rescan is how often the folder is looked at if nothing tells of changes; 0 means
	// DefaultRescan.
	Rescan time.Duration
	// ProbeTimeout is how long a plugin may take to say what it serves, once it is up; 0
	// means DefaultProbeTimeout. How long it may take to come up says its Spec.
	ProbeTimeout time.Duration
}

// Catalog knows the plugins of one folder. It is safe for concurrent use.
type Catalog struct {
	logger *slog.Logger
	rescan time.Duration
	folder folder
	stage  *stage
	prober prober
	allow  func(name, sha256 string) error

	current atomic.Pointer[Snapshot]
	changes chan struct{}
	scans   chan chan error // requests to scan now; the answer is the scan's error
	kicks   chan struct{}   // asks for a scan soon
	slots   chan struct{}   // parallelProbes of them

	mu      sync.Mutex // never held over I/O
	entries *entries
	turn    chan struct{} // closed and replaced whenever entries change

	cancel context.CancelFunc
	ended  <-chan struct{} // closed once Close has begun
	wg     sync.WaitGroup
}

// Open opens the catalog of a folder and keeps it up to date until Close. It returns once
// every plugin that is there has been probed, or has not answered for some seconds (the
// rest follow by Changes). ctx bounds the opening only. Open fails if the folder is
// missing, cannot be read, or could be written by others than root and the host's user; a
// plugin with something wrong with it is no error.
func Open(ctx context.Context, o Options) (*Catalog, error) {
	switch {
	case o.Launcher == nil:
		return nil, errors.New("plugin catalog: no launcher given")
	case o.Dir == "":
		return nil, errors.New("plugin catalog: no plugin folder given")
	case o.StateDir == "":
		return nil, errors.New("plugin catalog: no state folder given")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("plugin folder %q: %w", o.Dir, err)
	}
	state, err := filepath.Abs(o.StateDir)
	if err != nil {
		return nil, fmt.Errorf("state folder %q: %w", o.StateDir, err)
	}
	uid := uint32(os.Geteuid())
	c := &Catalog{logger: o.Logger, rescan: o.Rescan, folder: folder{path: dir, uid: uid},
		prober: prober{launcher: o.Launcher, spec: o.Spec, timeout: o.ProbeTimeout}, allow: o.Allow,
		changes: make(chan struct{}, 1), scans: make(chan chan error), kicks: make(chan struct{}, 1),
		slots: make(chan struct{}, parallelProbes), entries: newEntries(settle), turn: make(chan struct{})}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if c.rescan <= 0 {
		c.rescan = DefaultRescan
	}
	if c.prober.timeout <= 0 {
		c.prober.timeout = DefaultProbeTimeout
	}
	if c.allow == nil {
		c.allow = func(string, string) error { return nil }
	}
	if c.prober.spec == nil {
		c.prober.spec = func(string) process.Spec { return process.Spec{} }
	}
	c.current.Store(NewSnapshot(nil))
	if _, _, err := c.folder.list(); err != nil {
		return nil, err
	}
	if c.stage, err = openStage(state, uid); err != nil {
		return nil, err
	}
	c.stage.sweep(time.Now())

	running, cancel := context.WithCancel(context.Background())
	c.cancel, c.ended = cancel, running.Done()
	c.wg.Go(func() { c.run(running) })
	wait, stop := context.WithTimeout(ctx, openWait)
	defer stop()
	err = c.Rescan(wait)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = nil // only the wait is over
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the watching and all probes, and waits for both. Staged copies stay. A second
// Close does nothing. The last snapshot stays readable.
func (c *Catalog) Close() error {
	c.cancel()
	c.wg.Wait()
	return nil
}

// Current returns what the folder holds now. It costs next to nothing.
func (c *Catalog) Current() *Snapshot { return c.current.Load() }

// Changes returns a channel that is signalled when Current has changed. There is one
// signal for any number of changes not yet noticed, so only one goroutine may wait on it.
// It is never closed.
func (c *Catalog) Changes() <-chan struct{} { return c.changes }

// Rescan looks at the folder now, and returns once a verdict has been reached on all that
// is there, which takes as long as the slowest plugin's probe. It fails if the folder
// cannot be read, ctx ends, or the catalog is closed.
func (c *Catalog) Rescan(ctx context.Context) error {
	scanned := make(chan error, 1)
	select {
	case c.scans <- scanned:
	case <-ctx.Done():
		return fmt.Errorf("rescan the plugin folder: %w", ctx.Err())
	case <-c.ended:
		return errors.New("rescan the plugin folder: the catalog is closed")
	}
	if err := <-scanned; err != nil { // soon, the loop has it
		return err
	}
	for {
		c.mu.Lock()
		quiet, turn := c.entries.quiet(), c.turn
		c.mu.Unlock()
		if quiet {
			return nil
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return fmt.Errorf("rescan the plugin folder: plugins are still being probed: %w", ctx.Err())
		case <-c.ended:
			return errors.New("rescan the plugin folder: the catalog is closed")
		}
	}
}

// Reload looks at the folder as if for the first time: what was found wanting is tried
// again at once, and what is served stays so only as long as Allow agrees. It returns as
// Rescan does.
func (c *Catalog) Reload(ctx context.Context) error {
	c.mu.Lock()
	held := c.entries.held()
	c.mu.Unlock()
	refused := map[binaryID]error{}
	for _, id := range held {
		if err := c.allow(id.name, id.sum); err != nil {
			refused[id] = err
		}
	}
	c.change(func(time.Time) { c.entries.reconsider(refused) })
	return c.Rescan(ctx)
}

// Reject says that the binary with that sha256 is no good although it came up, for example
// because it crashes again and again. If the plugin serves it, it does so no longer: the
// binary before it takes over, as a new generation, or the plugin is broken. Then the
// rejected one is tried again after a while, later each time. A file that is written again
// is judged afresh. problem is for people. Current has the outcome when Reject returns.
func (c *Catalog) Reject(name, sha256, problem string) {
	p, ok := c.Current().Plugin(name)
	if !ok || p.SHA256 != sha256 {
		return
	}
	c.stage.demote(p.Staged)
	c.change(func(now time.Time) { c.entries.reject(name, sha256, problem, now) })
	c.kick()
}

// change changes the entries and tells everybody.
func (c *Catalog) change(f func(now time.Time)) {
	now := time.Now()
	c.mu.Lock()
	f(now)
	if !c.entries.dirty {
		c.mu.Unlock()
		return
	}
	before := c.current.Load()
	after := c.entries.snapshot(c.folder.path, before, now)
	changed := !after.equal(before)
	if changed {
		c.current.Store(after)
	}
	close(c.turn)
	c.turn = make(chan struct{})
	c.mu.Unlock()
	if !changed {
		return
	}
	select {
	case c.changes <- struct{}{}:
	default:
	}
	c.report(before, after)
}

// report logs what has changed.
func (c *Catalog) report(before, after *Snapshot) {
	if after.Problem != before.Problem {
		if after.Problem != "" {
			c.logger.Error("the plugin folder cannot be read; what it held stays served", "error", after.Problem)
		} else {
			c.logger.Info("the plugin folder can be read again")
		}
	}
	for i := range after.Plugins {
		p := &after.Plugins[i]
		old, _ := before.Plugin(p.Name)
		if p.Serving() && p.Generation != old.Generation {
			c.logger.Info("plugin is served", "plugin", p.Name, "generation", p.Generation, "version", p.Version,
				"types", len(p.Types), "sha256", p.SHA256)
		}
		if p.Problem != old.Problem {
			if p.Problem != "" {
				c.logger.Warn("plugin has a problem", "plugin", p.Name, "status", string(p.Status), "problem", p.Problem)
			} else if p.Generation == old.Generation {
				c.logger.Info("plugin has no problem any more", "plugin", p.Name, "status", string(p.Status))
			}
		}
	}
	for _, old := range before.Plugins {
		if _, ok := after.Plugin(old.Name); !ok {
			c.logger.Info("plugin is gone", "plugin", old.Name)
		}
	}
}
