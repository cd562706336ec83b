// Package daemon is the leptir-host program: its flags, its signals, its exit code, how it
// goes into the background, and what it tells the service manager and leptirctl. How tasks
// are run it does not know.
package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/backplane/leptir/host"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/config/standard"
	"github.com/backplane/leptir/host/presence"
	"github.com/backplane/leptir/host/process/sandbox"
	"github.com/backplane/leptir/internal/version"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// secondSignalAfter is how long after the first a signal counts as a second one.
const secondSignalAfter = 300 * time.Millisecond

// openTimeout bounds the opening of brokers, stores and plugins.
const openTimeout = time.Minute

// Kinds returns the kinds of back ends that a stock host knows.
func Kinds() config.Kinds { return standard.Kinds() }

// Main runs the program with the given arguments and returns its exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("leptir-host", flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", "", "the configuration `file`; by default $LEPTIR_CONFIG, then leptir.hcl in the working folder, then /etc/leptir/leptir.hcl")
	pid := flags.String("pid", "", "the pid `file`, besides leptir-host.pid in the state folder; if its process lives, the host does not start")
	inBackground := flags.Bool("daemon", false, "run in the background; returns once the host is up, or has failed")
	showVersion := flags.Bool("version", false, "print the version and exit")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		return exitUsage
	}
	if *showVersion {
		fmt.Fprintln(stdout, "leptir-host", version.String())
		return exitDone
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "leptir-host: unexpected argument %q; the flags are -config, -pid, -daemon and -version\n", flags.Arg(0))
		return exitUsage
	}
	p := &program{stderr: stderr}
	if *inBackground {
		if p.parent = parentOf(); p.parent == nil {
			return goIntoBackground(args, stdout, stderr)
		}
	}
	if err := p.run(*path, *pid); err != nil {
		fmt.Fprintln(stderr, "leptir-host: "+strings.TrimPrefix(err.Error(), "leptir-host: "))
		return exitFailed
	}
	return exitDone
}

// program is one run of leptir-host.
type program struct {
	stderr  io.Writer
	parent  *parent // whom a host in the background has to tell that it is up; else nil
	cfg     *config.Config
	logs    *logs
	present presence.Presence
	notify  *notifier
	host    *host.Host
	orders  <-chan order
	status  presence.Status
}

func (p *program) run(explicit, pidPath string) (err error) {
	path, err := config.Find(explicit)
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil { // a reload may find another working folder
		return err
	}
	if p.cfg, err = config.Load(path, Kinds()); err != nil {
		return err
	}
	p.status = presence.Status{Started: time.Now().UTC(), Version: version.String(), Config: path}
	news, err := p.appear(pidPath)
	if err != nil {
		return err
	}
	defer func() { p.regret(p.present.Leave()) }()
	if p.logs, err = openLogs(p.cfg.Loggers, p.parent != nil); err != nil {
		return err
	}
	defer func() { p.regret(p.logs.sinks.Close()) }()
	for _, line := range news {
		p.logs.logger.Info(line)
	}
	if p.parent != nil && len(p.logs.open) == 0 {
		fmt.Fprintln(p.stderr, "leptir-host: warning: a host in the background logs to no terminal, and no other logger is configured: nothing will be logged. Add a logger of the kind file, syslog or journal.")
	}
	p.notify = newNotifier(p.logs.logger)
	defer p.notify.close()

	var deaf func()
	p.orders, deaf = listen()
	defer deaf()

	if os.Geteuid() == 0 {
		p.logs.logger.Warn("running as root: plugins run as root too; a user of its own is safer")
	}
	_ = sandbox.Favour() // without the right to it, plugins have the same priority
	stop, err := p.open()
	if err != nil || p.host == nil {
		return err
	}
	p.serve(stop)
	return nil
}

// regret tells of an error at the end that changes nothing any more.
func (p *program) regret(err error) {
	if err != nil {
		fmt.Fprintln(p.stderr, "leptir-host:", err)
	}
}

// open opens the host. A signal to stop ends that: it is returned, and without an error the
// host may be there or not.
func (p *program) open() (stop *order, err error) {
	p.say(presence.Starting)
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		p.host, err = host.Open(ctx, p.cfg, p.logs.logger)
	}()
	for {
		select {
		case <-opened:
			if err != nil && stop != nil {
				p.logs.logger.Info("stopped before the host was up", "signal", stop.String())
				return stop, nil
			}
			if err != nil && p.parent != nil {
				p.logs.logger.Error("the host cannot start", "error", err.Error())
			}
			return stop, err
		case o := <-p.orders:
			if o.Signal != syscall.SIGHUP && stop == nil { // what it would read anew has just been read
				stop = &o
				cancel()
			}
		}
	}
}

// serve tells everybody that the host is up, and returns when it has been stopped.
func (p *program) serve(stop *order) {
	p.logs.logger.Info("leptir-host is running", "version", version.String(), "config", p.cfg.Path, "host", p.cfg.Host.Name,
		"workers", p.cfg.Host.NumberOfWorkers, "plugin_dir", string(p.cfg.Host.PluginDir), "pid", os.Getpid())
	p.say(presence.Running)
	p.notify.ready(p.summary())
	p.notify.watch(p.host.Alive)
	if p.parent != nil {
		if err := p.parent.release(string(p.cfg.Host.StateDir)); err != nil {
			p.logs.logger.Warn("cannot let go of the terminal", "error", err)
		}
	}
	for stop == nil {
		if o := <-p.orders; o.Signal == syscall.SIGHUP {
			p.reload()
		} else {
			stop = &o
		}
	}
	p.stop(*stop)
}

// summary says in a few words what the host does.
func (p *program) summary() string {
	return fmt.Sprintf("running tasks, up to %d at once", p.cfg.Host.NumberOfWorkers)
}

const (
	// stopLook is how often it is said how many tasks a host that stops still waits for.
	stopLook = 250 * time.Millisecond
	// The service manager is asked again and again for stopExtend more, until a host that
	// keeps its own limits would have ended: they may be longer than what it was told when
	// the service was installed.
	stopExtendEvery = 2 * time.Second
	stopExtend      = 15 * time.Second
	stopTidy        = 30 * time.Second
)

// stop stops the host: running tasks are waited for, until there is a second signal.
func (p *program) stop(first order) {
	logger := p.logs.logger
	logger.Info("stopping: no new tasks, waiting for running ones; a second signal kills them and gives them back", "signal", first.String())
	p.notify.send("STOPPING=1")
	p.say(presence.Stopping)
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.host.Stop(ctx)
	}()
	look := time.NewTicker(stopLook)
	defer look.Stop()
	var extended time.Time
	extendUntil := time.Now().Add(p.cfg.Host.ShutdownTimeout + stopTidy)
	for {
		select {
		case <-stopped:
			logger.Info("stopped")
			return
		case o := <-p.orders:
			// One order to stop may come twice at once, to the process and to its group.
			if o.Signal != syscall.SIGHUP && o.at.Sub(first.at) > secondSignalAfter && ctx.Err() == nil {
				logger.Warn("second signal: killing running tasks and giving them back")
				kill()
			}
		case <-look.C:
			p.sayTasks()
			if now := time.Now(); now.Sub(extended) >= stopExtendEvery && now.Before(extendUntil) {
				extended = now
				p.notify.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", stopExtend.Microseconds()))
			}
		}
	}
}
