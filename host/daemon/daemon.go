// Package daemon is the leptir-host program: its flags, its signals and its exit code.
package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/backplane/leptir/host"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/config/standard"
	"github.com/backplane/leptir/host/logging"
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
		fmt.Fprintf(stderr, "leptir-host: unexpected argument %q; the flags are -config and -version\n", flags.Arg(0))
		return exitUsage
	}
	if err := run(*path); err != nil {
		fmt.Fprintln(stderr, "leptir-host: "+strings.TrimPrefix(err.Error(), "leptir-host: "))
		return exitFailed
	}
	return exitDone
}

func run(explicit string) error {
	path, err := config.Find(explicit)
	if err != nil {
		return err
	}
	cfg, err := config.Load(path, Kinds())
	if err != nil {
		return err
	}
	var sinks []logging.Sink
	for _, l := range cfg.Loggers {
		sink, err := l.Settings.Open(context.Background())
		if err != nil {
			return fmt.Errorf("logger %q: %w", l.Name, err)
		}
		sinks = append(sinks, sink)
	}
	logger, closer := logging.New(sinks...)
	defer closer.Close()

	// A log reader that goes away must not take the host along.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	if os.Geteuid() == 0 {
		logger.Warn("running as root: plugins run as root too; a user of its own is safer")
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	h, err := host.Open(ctx, cfg, logger)
	cancel()
	if err != nil {
		return err
	}
	logger.Info("leptir-host is running", "version", version.String(), "config", path, "host", cfg.Host.Name,
		"workers", cfg.Host.NumberOfWorkers, "plugin_dir", string(cfg.Host.PluginDir), "pid", os.Getpid())

	sig := <-signals
	logger.Info("stopping: no new tasks, waiting for running ones; a second signal kills them and gives them back", "signal", sig.String())
	stop, kill := context.WithCancel(context.Background())
	defer kill()
	go func() {
		// One order to stop may come twice at once, to the process and to its group.
		time.Sleep(secondSignalAfter)
		select {
		case <-signals:
		default:
		}
		select {
		case <-signals:
			logger.Warn("second signal: killing running tasks and giving them back")
			kill()
		case <-stop.Done():
		}
	}()
	h.Stop(stop)
	logger.Info("stopped")
	return nil
}
