// Package host assembles a host from its parts and owns their order: configuration,
// brokers and stores, plugin processes, catalog, pool, dispatcher are opened in this order
// and closed in the reverse one. It knows none of their details.
package host

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/admin"
	"github.com/backplane/leptir/host/catalog"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/dispatch"
	"github.com/backplane/leptir/host/logging"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/host/process/sandbox"
	"github.com/backplane/leptir/host/report"
)

// settleGrace is how long the settlement of killed tasks may take at a shutdown.
const settleGrace = 5 * time.Second

// noStartTimeout stands for start_timeout = 0, no limit.
const noStartTimeout = 24 * time.Hour

// Host runs tasks as its configuration says. Open makes it work at once; Stop ends it.
type Host struct {
	cfg      *config.Config // as it was opened; see config for what holds now
	logger   *slog.Logger
	brokers  []config.OpenBroker
	stores   []config.OpenStore
	launcher *process.Launcher
	catalog  *catalog.Catalog
	pusher   *dispatch.Pusher
	pool     *pool.Pool
	dispatch *dispatch.Dispatcher
	metrics  *admin.Metrics
	admin    *admin.Server
	started  time.Time
	machine  *sandbox.Machine
	gaps     atomic.Pointer[[]LimitGap]
	reports  *report.Hub
	types    types
	pins     pins

	reportedPlugins map[string]string // the problem of each that was reported last

	live           atomic.Pointer[config.Config]
	reloading      sync.Mutex // one reload at a time, and none once stopping is set
	stopping       bool
	draining       atomic.Bool // the same, to be read without the lock
	settingPlugins sync.Mutex  // so that the pool is told in the order of the changes
	revisions      revisions

	rejudged chan struct{} // signalled when all plugins have been judged anew
	quit     chan struct{}
	wg       sync.WaitGroup
}

// Open opens everything that the configuration names and starts to run tasks. Its error
// names what could not be opened; nothing is left open then. ctx bounds the opening only.
func Open(ctx context.Context, cfg *config.Config, logger *slog.Logger) (h *Host, err error) {
	h = &Host{cfg: cfg, logger: logger, metrics: admin.NewMetrics(), started: time.Now(), revisions: revisions{}, rejudged: make(chan struct{}, 1), quit: make(chan struct{})}
	h.live.Store(cfg)
	defer func() {
		if err != nil {
			h.close()
			h = nil
		}
	}()
	if err = h.openBackends(ctx); err != nil {
		return h, err
	}
	state := string(cfg.Host.StateDir)
	if err = os.MkdirAll(state, 0o700); err != nil {
		return h, fmt.Errorf("state folder %q: %w; create it or set state_dir in host {}", state, err)
	}
	if err = h.pins.load(string(cfg.Host.PluginLock)); err != nil {
		return h, err
	}
	h.machine = sandbox.Look(cfg.Host.CgroupParent)
	if err = h.takeLimits(cfg); err != nil {
		return h, err
	}
	h.launcher, err = process.NewLauncher(filepath.Join(state, "run"), logger, logging.HCLog(logging.Detail(logger)), h.printed, process.OnMachine(h.machine))
	if err != nil {
		return h, fmt.Errorf("state folder %q: %w", state, err)
	}
	h.catalog, err = catalog.Open(ctx, catalog.Options{Dir: string(cfg.Host.PluginDir), StateDir: state,
		Launcher: h.launcher, Logger: logger, Spec: h.spec, Allow: h.allow})
	if err != nil {
		return h, err
	}
	if err = h.openReports(ctx); err != nil {
		return h, err
	}
	if h.pusher, err = h.newPusher(); err != nil {
		return h, err
	}
	h.pool = pool.New(pool.Options{Workers: cfg.Host.NumberOfWorkers, Launcher: h.launcher, Logger: logger,
		Observer: &dispatch.Observer{Logger: logger, Pusher: h.pusher}, OnBroken: h.broken})
	h.setPlugins()
	h.served()
	h.dispatch = dispatch.New(h.dispatchOptions())
	h.wg.Go(h.follow)
	if err = h.openAdmin(ctx); err != nil {
		return h, err
	}
	return h, nil
}

// newPusher makes what queues the tasks that tasks push.
func (h *Host) newPusher() (*dispatch.Pusher, error) {
	members := make([]brokers.Named, len(h.brokers))
	for i, b := range h.brokers {
		members[i] = brokers.Named{Name: b.Name, Kind: b.Kind, Priority: b.Priority, Broker: b.Handle}
	}
	set, err := brokers.NewSet(members...)
	if err != nil {
		return nil, err
	}
	return dispatch.NewPusher(set), nil
}

func (h *Host) dispatchOptions() dispatch.Options {
	c := h.cfg.Host
	o := dispatch.Options{Pool: h.pool, Logger: h.logger, Host: c.Name, Lease: c.LeaseTime,
		EmptySleep: c.EmptyQueueSleepTime, BusySleep: c.WorkersActiveSleepTime, TimeLimit: h.timeLimit,
		Retry: h.retry, Meter: h.metrics, MaxAttempts: c.MaxAttempts, MaxCrashes: c.MaxCrashes, Check: h.types.check, Revertible: h.types.revertible, Pusher: h.pusher,
		Reports: h.reports}
	for _, b := range h.brokers {
		o.Brokers = append(o.Brokers, dispatch.Broker{Name: b.Name, Kind: b.Kind, Priority: b.Priority,
			CountFor: b.TaskCountCachingTime, DeadRetention: b.DeadRetention, Broker: b.Handle})
	}
	for _, s := range h.stores {
		o.Stores = append(o.Stores, dispatch.Store{Name: s.Name, Drop: s.OnFailure == config.OnFailureDrop, Store: s.Handle})
	}
	return o
}

// Stop ends the host: no new tasks, what has not begun is given back, running tasks may go
// on for shutdown_timeout, then they are killed and given back with their attempt
// uncounted. The end of ctx ends the wait at once. It returns when nothing is left.
func (h *Host) Stop(ctx context.Context) {
	h.reloading.Lock()
	h.stopping = true
	h.draining.Store(true)
	h.reloading.Unlock()
	timeout := h.config().Host.ShutdownTimeout
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if n := h.dispatch.Held(); n > 0 {
		h.logger.Info("stopping; waiting for running tasks", "held", n, "shutdown_timeout", timeout.String())
	}
	h.dispatch.Drain(ctx, settleGrace)
	h.close()
}

// close closes whatever has been opened, in the reverse order.
func (h *Host) close() {
	h.closeAdmin()
	close(h.quit)
	h.wg.Wait()
	if h.pool != nil {
		h.pool.Close()
	}
	if h.dispatch != nil {
		h.dispatch.Close()
	}
	if h.pusher != nil {
		h.pusher.Close()
	}
	h.closeReports()
	if h.catalog != nil {
		_ = h.catalog.Close()
	}
	if h.launcher != nil {
		if err := h.launcher.Close(); err != nil {
			h.logger.Warn("cannot tidy up", "error", err)
		}
	}
	for _, s := range h.stores {
		if s.Handle == nil {
			continue
		}
		if err := s.Handle.Close(); err != nil {
			h.logger.Warn("cannot close meta storage", "store", s.Name, "error", err)
		}
	}
	for _, b := range h.brokers {
		if b.Handle == nil {
			continue
		}
		if err := b.Handle.Close(); err != nil {
			h.logger.Warn("cannot close broker", "broker", b.Name, "error", err)
		}
	}
}

// follow tells the pool of every change of the plugin folder.
func (h *Host) follow() {
	for {
		select {
		case <-h.quit:
			return
		case <-h.catalog.Changes():
			h.setPlugins()
			h.served()
			h.dispatch.PluginsChanged()
			h.reportPlugins()
		case <-h.rejudged:
			h.served()
		}
	}
}

// served takes up which task types are served now, and writes it down for programs beside
// the host.
func (h *Host) served() {
	snapshot := h.catalog.Current()
	h.types.set(snapshot.Types(), h.logger)
	if err := snapshot.Save(string(h.cfg.Host.StateDir), string(h.cfg.Host.PluginDir)); err != nil {
		h.logger.Warn("programs beside the host will not know what is served", "error", err)
	}
}

// poolPlugins returns what a pool is to start processes of.
func poolPlugins(cfg *config.Config, snapshot *catalog.Snapshot) (all []pool.Plugin) {
	for _, p := range snapshot.Plugins {
		if !p.Serving() || len(p.Types) == 0 { // an error reporter runs no tasks
			continue
		}
		c := pluginConfig(cfg, p.Name)
		spec := processSpec(cfg, p.Name)
		spec.Path = p.Staged
		q := pool.Plugin{Name: p.Name, Generation: p.Generation, Spec: spec,
			Fresh: c.Isolation == config.IsolationFresh, MaxTasks: c.MaxTasks, MaxAge: c.MaxAge,
			MemoryMax: int64(c.MemoryMax), Spares: c.Spares, MaxProcesses: c.MaxProcesses, KillGrace: c.KillGrace}
		for _, t := range p.Types {
			if by, ok := snapshot.ForType(t.Name); ok && by.Name == p.Name {
				q.Types = append(q.Types, t.Name)
			}
		}
		all = append(all, q)
	}
	return all
}

// pluginConfig returns the settings of the plugin in the file of that name.
func pluginConfig(cfg *config.Config, file string) config.Plugin {
	return cfg.Plugin(strings.TrimSuffix(file, filepath.Ext(file)))
}

func (h *Host) spec(file string) process.Spec { return processSpec(h.config(), file) }

// processSpec says how a plugin's processes are started, but for the binary.
func processSpec(cfg *config.Config, file string) process.Spec {
	c := pluginConfig(cfg, file)
	s := process.Spec{Plugin: file, Args: c.Arguments, StartTimeout: c.StartTimeout, TLS: c.TLS == config.TLSAuto,
		Limits: sandboxLimits(c.Limits), OutputMax: int64(c.Limits.OutputMax)}
	if s.StartTimeout == 0 {
		s.StartTimeout = noStartTimeout
	}
	for _, name := range c.EnvironmentAllow {
		if c.Limits.RunAs != "" && slices.Contains([]string{"HOME", "USER", "LOGNAME", "TMPDIR"}, name) {
			continue // those are the other user's own
		}
		if v, ok := os.LookupEnv(name); ok {
			s.Env = append(s.Env, name+"="+v)
		}
	}
	for name, v := range c.Environment {
		s.Env = append(s.Env, name+"="+v)
	}
	return s
}

// timeLimit returns the limit of a type's tasks that bring none.
func (h *Host) timeLimit(taskType string) time.Duration {
	if p, ok := h.catalog.Current().ForType(taskType); ok {
		return pluginConfig(h.config(), p.Name).TaskExecutionTime
	}
	return h.config().Host.TaskExecutionTime
}

// retry returns how tasks of a type are retried that do not say so themselves.
func (h *Host) retry(taskType string) dispatch.Retry {
	cfg := h.config()
	p := cfg.PluginDefaults()
	if by, ok := h.catalog.Current().ForType(taskType); ok {
		p = pluginConfig(cfg, by.Name)
	}
	return dispatch.Retry{MaxAttempts: p.MaxAttempts, Backoff: dispatch.Backoff(p.RetryBackoff, p.RetryBackoffMax)}
}

// broken hands a plugin that does not come up to the catalog, which may know an older
// binary that does.
func (h *Host) broken(name string, generation int, problem string) {
	p, ok := h.catalog.Current().Plugin(name)
	if ok && p.Generation == generation {
		h.wg.Go(func() { h.catalog.Reject(name, p.SHA256, problem) })
	}
}

// printed logs a line that a plugin has printed outside of its tasks' log calls.
func (h *Host) printed(l process.Line) {
	h.logger.Info(l.Text, "plugin", l.Plugin, "worker", l.PID, "stream", l.Stream)
}

// Status is a look at the host, for operators.
type Status struct {
	Pool    pool.Status             `json:"pool"`
	Brokers []dispatch.SourceStatus `json:"brokers"`
	// Gaps are the limits of plugins that this machine does not enforce.
	Gaps    []LimitGap     `json:"limit_gaps,omitempty"`
	Reports []report.Stats `json:"error_reporting"`
}

// Status returns the host's present state.
func (h *Host) Status() Status {
	return Status{Pool: h.pool.Status(), Brokers: h.dispatch.Status(), Gaps: *h.gaps.Load(), Reports: h.reports.Stats()}
}
