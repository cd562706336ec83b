package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/host/catalog"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/dispatch"
	"github.com/backplane/leptir/host/logging"
	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/host/process/sandbox"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/suggest"
	"github.com/backplane/leptir/task"
)

// heldStart is how long a process may take to come up that is to be held for a debugger.
const heldStart = 10 * time.Minute

// maxOnceStates bounds the states that are kept of a task whose process dies.
const maxOnceStates = 1000

// Once runs single tasks in plugin processes, now, as a host would, without a broker or a
// store: for authors who try a task out. Open makes it, Close ends it.
//
// It keeps copies of binaries and sockets in a private folder of its own below
// os.TempDir(), so that it disturbs no host.
type Once struct {
	cfg      *config.Config
	logger   *slog.Logger
	dir      string
	folder   string // of the plugins
	snapshot *catalog.Snapshot
}

// OpenOnce looks what the configuration's plugin folder holds or, where binary is not
// empty, at that plugin alone. Lines of plugins and tasks go to logger. A plugin with
// something wrong with it is no error (see Plugins). ctx bounds the opening only.
func OpenOnce(ctx context.Context, cfg *config.Config, binary string, logger *slog.Logger) (*Once, error) {
	dir, err := os.MkdirTemp("", "leptir-once-")
	if err != nil {
		return nil, fmt.Errorf("make a private folder: %w", err)
	}
	o := &Once{cfg: cfg, logger: logger, dir: dir, folder: string(cfg.Host.PluginDir)}
	if binary != "" {
		o.folder, err = o.folderOf(binary)
	}
	if err == nil {
		o.snapshot, err = o.look(ctx)
	}
	if err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// Close removes what Once has made for itself.
func (o *Once) Close() { _ = os.RemoveAll(o.dir) }

// Plugins returns the plugins that were found.
func (o *Once) Plugins() *catalog.Snapshot { return o.snapshot }

// folderOf makes a plugin folder that has one binary in it.
func (o *Once) folderOf(binary string) (string, error) {
	path, err := filepath.Abs(binary)
	var info os.FileInfo
	if err == nil {
		info, err = os.Stat(path)
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("plugin: %w", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("plugin: %s is not a file", path)
	case info.Mode()&0o111 == 0:
		return "", fmt.Errorf("plugin: %s is not executable; if it is a plugin, run: chmod +x %q", path, path)
	}
	folder := filepath.Join(o.dir, "folder")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return "", fmt.Errorf("make a plugin folder: %w", err)
	}
	if err := os.Symlink(path, filepath.Join(folder, filepath.Base(path))); err != nil {
		return "", fmt.Errorf("make a plugin folder: %w", err)
	}
	return folder, nil
}

// launcher returns a launcher, which the caller closes. What its processes print is logged.
func (o *Once) launcher() (*process.Launcher, error) {
	return process.NewLauncher(filepath.Join(o.dir, "run"), o.logger, logging.HCLog(nil), func(l process.Line) {
		o.logger.Info(l.Text, "plugin", l.Plugin, "worker", l.PID, "stream", l.Stream)
	}, process.OnMachine(sandbox.Look(o.cfg.Host.CgroupParent)))
}

// look asks the plugins of the folder what they serve.
func (o *Once) look(ctx context.Context) (*catalog.Snapshot, error) {
	launcher, err := o.launcher()
	if err != nil {
		return nil, err
	}
	defer launcher.Close()
	c, err := catalog.Open(ctx, catalog.Options{Dir: o.folder, StateDir: o.dir, Launcher: launcher,
		Spec: func(file string) process.Spec { return processSpec(o.cfg, file) }})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Current(), nil
}

// A NotServedError says that no plugin serves a task type although nothing is wrong with any
// plugin, and what there is instead.
type NotServedError struct{ text string }

// Error implements error.
func (e *NotServedError) Error() string { return e.text }

// plugin returns the plugin that serves a type. Its error says what there is instead; it is
// a *NotServedError where nothing is wrong with any plugin.
func (o *Once) plugin(taskType string) (catalog.Plugin, error) {
	p, ok := o.snapshot.ForType(taskType)
	if ok {
		return p, nil
	}
	var types, problems []string
	for _, p := range o.snapshot.Plugins {
		for _, t := range p.Types {
			types = append(types, t.Name)
		}
		if p.Problem != "" {
			problems = append(problems, fmt.Sprintf("plugin %q: %s", p.Name, p.Problem))
		} else if p.Status == catalog.StatusProbing {
			problems = append(problems, fmt.Sprintf("plugin %q has not said yet what it serves", p.Name))
		}
	}
	text := fmt.Sprintf("no plugin serves task type %q", taskType)
	switch near := suggest.Name(taskType, types); {
	case len(problems) > 0:
		return catalog.Plugin{}, fmt.Errorf("%s; %s", text, strings.Join(problems, "; "))
	case near != "":
		text += fmt.Sprintf("; did you mean %s?", near)
	case len(types) > 0:
		text += "; the types are " + strings.Join(types, ", ")
	default:
		text += "; there is no plugin in " + o.folder
	}
	return catalog.Plugin{}, &NotServedError{text}
}

// OnceTask is a task to be run, and who is told of it meanwhile. Functions that are nil
// are not called.
type OnceTask struct {
	// Task is the task. An id is filled in where it has none, and its At does not matter.
	task.Task
	// Hold is called with the id of the process that is going to run the task, before it
	// does; then there is no time limit. If it fails, so does Run.
	Hold func(ctx context.Context, pid int) error
	// Progress is told of the task's progress, State of its states. They must not block.
	Progress func(p task.Progress)
	State    func(state int)
	// Pushed is told of the tasks that it pushes, Undo of the task that would undo it, of a
	// revertible one that has failed. They go nowhere.
	Pushed func(tasks []task.Task)
	Undo   func(undo task.Task)
}

// Run runs one task and returns its record. It fails if the task could not be run; a task
// that ran and failed is no error. The end of ctx cancels the task.
func (o *Once) Run(ctx context.Context, t OnceTask) (task.Record, error) {
	if t.ID == "" {
		t.ID = task.NewID()
	}
	if err := t.Validate(); err != nil {
		return task.Record{}, err
	}
	served, err := o.plugin(t.Type)
	if err != nil {
		return task.Record{}, err
	}
	launcher, err := o.launcher()
	if err != nil {
		return task.Record{}, err
	}
	defer launcher.Close()
	set, err := brokers.NewSet(brokers.Named{Name: "none", Broker: nowhere{memory.New(), t.Pushed}})
	if err != nil {
		return task.Record{}, err
	}
	defer set.Close()
	pusher := dispatch.NewPusher(set)
	defer pusher.Close()

	watch := &onceObserver{Observer: dispatch.Observer{Logger: o.logger, Pusher: pusher}, task: &t}
	p := pool.New(pool.Options{Workers: 1, Launcher: launcher, Logger: slog.New(slog.DiscardHandler), Observer: watch})
	defer p.Close()
	plugin := o.poolPlugin(served.Name, t.Hold != nil)
	p.SetPlugins([]pool.Plugin{plugin})
	job := &pool.Job{Task: t.Task, Attempt: 1, Limit: o.limit(&t, served.Name)}
	if t.Hold != nil {
		pid, err := held(ctx, p, launcher)
		if err == nil {
			err = t.Hold(ctx, pid)
		}
		if err != nil {
			return task.Record{}, err
		}
	}
	if err := p.Submit([]*pool.Job{job}); err != nil {
		return task.Record{}, err
	}
	stop := context.AfterFunc(ctx, func() { p.Cancel(job, pluginConfig(o.cfg, served.Name).KillGrace, "interrupted") })
	defer stop()
	outcome := (<-p.Outcomes())[0]
	switch outcome.Kind {
	case pool.Ended, pool.Died:
	case pool.Unserved:
		return task.Record{}, errors.New(outcome.Reason)
	default:
		return task.Record{}, fmt.Errorf("task %s has not run: %w", t.ID, context.Cause(ctx))
	}
	for _, f := range outcome.Result.GetAlso() {
		o.logger.Error("failed beside it: " + strings.ToValidUTF8(f.GetMessage(), "\uFFFD"))
	}
	if undo := outcome.Result.GetUndo(); undo != nil && t.Undo != nil {
		t.Undo(task.Task{Type: undo.GetType(), Params: undo.GetParams()})
	}
	rec := dispatch.RecordOf(&outcome, o.cfg.Host.Name)
	rec.Run.Ended = time.Now().UTC()
	watch.mu.Lock()
	defer watch.mu.Unlock()
	rec.Run.Progress = watch.progress
	if outcome.Kind == pool.Died {
		rec.Run.States = watch.states // else its result has them
	}
	return rec, nil
}

// poolPlugin returns what the pool is to start processes of.
func (o *Once) poolPlugin(name string, hold bool) pool.Plugin {
	var plugin pool.Plugin
	for _, p := range poolPlugins(o.cfg, o.snapshot) {
		if p.Name == name {
			plugin = p
		}
	}
	plugin.Spares = 0
	if hold { // the process is to be there before the task is, and to stay as it is
		plugin.Spares, plugin.MaxAge, plugin.Spec.StartTimeout = 1, 0, heldStart
	}
	return plugin
}

// limit returns the most time that a task may run; 0 is none.
func (o *Once) limit(t *OnceTask, plugin string) time.Duration {
	switch {
	case t.Hold != nil, t.TimeLimit < 0:
		return 0
	case t.TimeLimit > 0:
		return t.TimeLimit
	}
	return pluginConfig(o.cfg, plugin).TaskExecutionTime
}

// held waits for the pool's process, and returns its id.
func held(ctx context.Context, p *pool.Pool, launcher *process.Launcher) (int, error) {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		for _, s := range p.Status().Plugins {
			if s.Problem != "" {
				return 0, fmt.Errorf("plugin %q does not come up: %s", s.Name, s.Problem)
			}
			if pids := launcher.PIDs(); s.Idle > 0 && len(pids) > 0 {
				return pids[0], nil
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// onceObserver hears what a single task says.
type onceObserver struct {
	dispatch.Observer
	task *OnceTask

	mu       sync.Mutex
	progress *task.Progress // the last
	states   []int
}

var _ pool.Observer = (*onceObserver)(nil)

// Running implements pool.Observer.
func (o *onceObserver) Running(*pool.Job, string, int, time.Time) {}

// State implements pool.Observer.
func (o *onceObserver) State(_ *pool.Job, s *pluginpb.State) {
	state := int(s.GetState())
	o.mu.Lock()
	if len(o.states) < maxOnceStates {
		o.states = append(o.states, state)
	}
	o.mu.Unlock()
	if o.task.State != nil {
		o.task.State(state)
	}
}

// Progress implements pool.Observer.
func (o *onceObserver) Progress(_ *pool.Job, p *pluginpb.Progress) {
	progress := dispatch.ProgressOf(p)
	o.mu.Lock()
	o.progress = progress
	o.mu.Unlock()
	if o.task.Progress != nil {
		o.task.Progress(*progress)
	}
}

// Report logs what a task tells the error reporters, of which there are none here.
func (o *onceObserver) Report(_ *pool.Job, _ string, _ int, m *pluginpb.Report) {
	switch what := m.GetWhat().(type) {
	case *pluginpb.Report_Error:
		o.Logger.Error("reported: " + strings.ToValidUTF8(what.Error.GetMessage(), "\uFFFD"))
	case *pluginpb.Report_Message:
		o.Logger.Error("reported: " + strings.ToValidUTF8(what.Message, "\uFFFD"))
	}
}

// nowhere is the queue of tasks that a single task pushes: it tells of them and keeps none.
type nowhere struct {
	*memory.Broker
	pushed func([]task.Task)
}

// Push implements brokers.Broker.
func (n nowhere) Push(_ context.Context, tasks []task.Task) error {
	if n.pushed != nil {
		n.pushed(tasks)
	}
	return nil
}
