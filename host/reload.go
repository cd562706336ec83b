package host

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/dispatch"
)

// liveHost is what of the host block a running host takes over; it does so by name.
var liveHost = map[string]func(to, from *config.Host){
	"task_execution_time":       func(to, from *config.Host) { to.TaskExecutionTime = from.TaskExecutionTime },
	"number_of_workers":         func(to, from *config.Host) { to.NumberOfWorkers = from.NumberOfWorkers },
	"empty_queue_sleep_time":    func(to, from *config.Host) { to.EmptyQueueSleepTime = from.EmptyQueueSleepTime },
	"workers_active_sleep_time": func(to, from *config.Host) { to.WorkersActiveSleepTime = from.WorkersActiveSleepTime },
	"shutdown_timeout":          func(to, from *config.Host) { to.ShutdownTimeout = from.ShutdownTimeout },
	"kill_grace":                func(to, from *config.Host) { to.KillGrace = from.KillGrace },
	"max_attempts":              func(to, from *config.Host) { to.MaxAttempts = from.MaxAttempts },
	"retry_backoff":             func(to, from *config.Host) { to.RetryBackoff = from.RetryBackoff },
	"retry_backoff_max":         func(to, from *config.Host) { to.RetryBackoffMax = from.RetryBackoffMax },
	"max_crashes":               func(to, from *config.Host) { to.MaxCrashes = from.MaxCrashes },
}

// live reports whether a running host takes a change over. Loggers are those of the program
// around the host, which does.
func live(c config.Change) bool {
	switch c.Type {
	case "host":
		return liveHost[c.Attribute] != nil
	case "plugin", "logger":
		return true
	}
	return false
}

// Reloaded says what came of a reload.
type Reloaded struct {
	// Applied is what holds from now on, Restart what holds only after a restart.
	Applied, Restart []config.Change
}

// ErrStopping is returned by Reload once the host has been told to stop.
var ErrStopping = errors.New("the host is stopping")

// Reload takes over what of a new configuration can be changed while the host runs, and says
// what that is, and what cannot. Running tasks go on with what they were started with. A
// plugin whose block has changed gets new processes, one by one. Reload waits for no task.
// On an error nothing has changed. It is safe for concurrent use.
func (h *Host) Reload(cfg *config.Config) (Reloaded, error) {
	h.reloading.Lock()
	defer h.reloading.Unlock()
	if h.stopping {
		return Reloaded{}, ErrStopping
	}
	now := h.config()
	if err := h.pins.load(string(now.Host.PluginLock)); err != nil {
		return Reloaded{}, err
	}
	var r Reloaded
	for _, c := range config.Diff(now, cfg) {
		if live(c) {
			r.Applied = append(r.Applied, c)
			continue
		}
		r.Restart = append(r.Restart, c)
	}
	next := *now
	for _, take := range liveHost {
		take(&next.Host, &cfg.Host)
	}
	next.Plugins, next.Loggers = cfg.Plugins, cfg.Loggers
	if err := h.takeLimits(&next); err != nil {
		return Reloaded{}, err
	}
	h.live.Store(&next)
	h.pool.Resize(next.Host.NumberOfWorkers)
	h.dispatch.Tune(tuning(&next.Host))
	h.setPlugins()
	h.wg.Go(h.rejudge)
	return r, nil
}

// rejudge has all plugins judged anew: by the lock file as it is now, and those that did not
// come up once more.
func (h *Host) rejudge() {
	ctx, cancel := context.WithTimeout(context.Background(), rejudgeLimit)
	defer cancel()
	h.wg.Go(func() {
		select {
		case <-h.quit:
			cancel()
		case <-ctx.Done():
		}
	})
	if err := h.catalog.Reload(ctx); err != nil && ctx.Err() == nil {
		h.logger.Warn("plugins could not be judged anew", "error", err)
	}
	select {
	case h.rejudged <- struct{}{}:
	default:
	}
}

// rejudgeLimit is how long the plugins may take to be judged anew; those that take longer
// follow.
const rejudgeLimit = 30 * time.Second

// tuning returns what the dispatcher takes of the host block.
func tuning(c *config.Host) dispatch.Tuning {
	return dispatch.Tuning{EmptySleep: c.EmptyQueueSleepTime, BusySleep: c.WorkersActiveSleepTime,
		MaxAttempts: c.MaxAttempts, MaxCrashes: c.MaxCrashes}
}

// config returns the configuration as it holds now: what the host was opened with, and what
// has been reloaded since.
func (h *Host) config() *config.Config { return h.live.Load() }

// setPlugins tells the pool what plugins there are, by the catalog and the configuration as
// they are now. It is called when one of them has changed, by one goroutine at a time.
func (h *Host) setPlugins() {
	h.settingPlugins.Lock()
	defer h.settingPlugins.Unlock()
	cfg := h.config()
	plugins := poolPlugins(cfg, h.catalog.Current())
	for i, p := range plugins {
		plugins[i].Revision = h.revisions.of(p.Name, pluginConfig(cfg, p.Name))
	}
	h.pool.SetPlugins(plugins)
}

// revisions counts how often what the processes of a plugin are started with has changed.
type revisions map[string]revision

type revision struct {
	number   int
	settings config.Plugin
}

// of returns the revision of a plugin's settings.
func (r revisions) of(name string, c config.Plugin) int {
	// These hold for the processes that there are.
	c.TaskExecutionTime, c.MaxTasks, c.MaxAge, c.MemoryMax, c.Spares, c.MaxProcesses, c.Isolation = 0, 0, 0, 0, 0, 0, ""
	c.Environment, c.EnvironmentAllow, c.Arguments = maps.Clone(c.Environment), slices.Clone(c.EnvironmentAllow), slices.Clone(c.Arguments)
	last, known := r[name]
	switch {
	case !known:
		last = revision{settings: c}
	case !reflect.DeepEqual(last.settings, c):
		last = revision{last.number + 1, c}
	}
	r[name] = last
	return last.number
}

// Alive proves that the host works: the loops that feed tasks to processes and that keep the
// processes answer. The error says which did not before ctx's end.
func (h *Host) Alive(ctx context.Context) error {
	if err := h.dispatch.Alive(ctx); err != nil {
		return err
	}
	return h.pool.Alive(ctx)
}

// Running returns how many tasks run at the moment, and how many this host has leased and
// not settled yet, those included.
func (h *Host) Running() (running, held int) {
	return h.pool.Status().Busy, h.dispatch.Held()
}
