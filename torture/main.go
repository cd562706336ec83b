// Command torture is the proof that leptir loses nothing: it starts a real queue and real
// hosts, pushes tasks whose effects are known, and meanwhile kills, stops, cuts off and
// fills whatever it can, after a plan that a seed repeats. Then it compares what the tasks
// have written down with what the records and the queue say. It ends with exit code 0 only
// if nothing was lost, stuck or wrongly recorded and every run beyond one has its cause.
//
// It ends only processes that it has started, and leaves none behind, even if it is killed.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() { os.Exit(torment(os.Args[1:], os.Stdout, os.Stderr)) }

// limit bounds a run beside the span of its faults.
const limit = 30 * time.Minute

func torment(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("torture", flag.ContinueOnError)
	flags.SetOutput(stderr)
	o := options{kills: 4}
	flags.StringVar(&o.broker, "broker", "sqlite", "the `kind` of queue: sqlite, redis, mongodb, sqs, or all")
	flags.IntVar(&o.tasks, "tasks", 20000, "how many tasks are pushed")
	flags.IntVar(&o.faults, "faults", 220, "how many faults strike")
	flags.Uint64Var(&o.seed, "seed", 1, "what the plan and the tasks are drawn from")
	flags.IntVar(&o.hosts, "hosts", 3, "how many hosts there are")
	flags.IntVar(&o.workers, "workers", 4, "how many tasks a host runs at once")
	flags.DurationVar(&o.lease, "lease", 3*time.Second, "how long leases are")
	flags.DurationVar(&o.span, "span", 0, "how long faults strike; by default 2 s for each")
	flags.IntVar(&o.measure, "measure", 6, "rounds of measurements before the faults")
	flags.DurationVar(&o.patience, "patience", 3*time.Minute, "how long the queue may take to become empty after the faults")
	flags.BoolVar(&o.race, "race", false, "build the hosts with the race detector")
	flags.BoolVar(&o.clocks, "clocks", true, "build the hosts so that their clocks can be wrong")
	flags.BoolVar(&o.keep, "keep", false, "keep the folder of the run")
	flags.BoolVar(&o.verbose, "v", false, "tell every fault")
	flags.StringVar(&o.level, "level", "info", "the `level` of the hosts' logs")
	short := flags.Bool("short", false, "a short run: 240 tasks, 10 faults within 7 s, 2 hosts; of several brokers at the same time")
	showPlan := flags.Bool("plan", false, "print the plan, and do nothing")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return 2
	}
	if *short {
		o.short = true
		o.tasks, o.faults, o.hosts, o.lease, o.span, o.measure, o.kills, o.clocks, o.patience = 240, 10, 2, 2*time.Second, 7*time.Second, 1, 1, false, time.Minute
	}
	if o.span == 0 {
		o.span = time.Duration(o.faults) * 2 * time.Second
	}
	if *showPlan {
		for _, f := range newPlan(o.seed, o.faults, o.hosts, o.lease, o.span, func(Kind) bool { return true }) {
			fmt.Fprintln(stdout, f)
		}
		return 0
	}
	if code, done := inNamespace(); done {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.span+limit)
	defer cancel()
	if err := runAll(ctx, o, *short, args, stdout); err != nil {
		fmt.Fprintln(stderr, "torture: "+err.Error())
		return 1
	}
	return 0
}

// envRequire says that short runs of several brokers leave none out for want of a server.
const envRequire = "LEPTIR_TEST_REQUIRE_SERVERS"

// errUnclean is the error of runs that were not clean; they have said why.
var errUnclean = errors.New("not clean")

// runAll does the runs that are asked for, short ones of several brokers at the same time.
func runAll(ctx context.Context, o options, together bool, args []string, stdout io.Writer) error {
	dir, err := os.MkdirTemp("", "torture-")
	if err != nil {
		return err
	}
	if err := os.Setenv(envRun, dir); err != nil {
		return err
	}
	began := time.Now()
	programs, err := build(ctx, dir, o.race, o.clocks)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	fmt.Fprintf(stdout, "built in %v\n", time.Since(began).Round(100*time.Millisecond))
	all := []string{o.broker}
	if o.broker == "all" {
		all = []string{"sqlite", "redis", "mongodb", "sqs"}
	}
	errs := make([]error, len(all))
	one := func(i int, o options, out io.Writer) {
		o.broker = all[i]
		own := filepath.Join(dir, o.broker)
		clean, err := false, os.Mkdir(own, 0o700)
		if err == nil {
			clean, err = torture(ctx, o, programs, own, out)
		}
		switch {
		case errors.Is(err, errNoServer) && together && os.Getenv(envRequire) == "":
			fmt.Fprintf(out, "%s: left out: %v\n", o.broker, err)
		case err != nil:
			errs[i] = fmt.Errorf("%s: %w", o.broker, err)
		case clean:
			fmt.Fprintf(out, "%s: clean\n", o.broker)
		default:
			fmt.Fprintf(out, "%s: NOT CLEAN; the same again: torture %s\n", o.broker, strings.Join(args, " "))
			errs[i] = fmt.Errorf("%s: %w", o.broker, errUnclean)
		}
	}
	var wg sync.WaitGroup
	for i := range all {
		if !together {
			one(i, o, stdout)
			continue
		}
		wg.Go(func() {
			var out bytes.Buffer
			one(i, o, &out)
			_, _ = stdout.Write(out.Bytes())
		})
	}
	wg.Wait()
	err = errors.Join(append(errs, noneLeft(stdout))...)
	if err != nil || o.keep {
		fmt.Fprintf(stdout, "journals, logs and configurations are in %s\n", dir)
		return err
	}
	return os.RemoveAll(dir)
}

// noneLeft ends what is left of all runs, and says what that was.
func noneLeft(out io.Writer) (err error) {
	for _, pid := range marked(envRun + "=" + os.Getenv(envRun)) {
		err = errors.New("processes were left behind")
		fmt.Fprintf(out, "process %d was left behind, and is killed: %s\n", pid, command(pid))
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return err
}

// envNamespace says that this process has mounts of its own.
const envNamespace = "TORTURE_NAMESPACE"

// mayMount reports whether file systems may be mounted without anybody else seeing them.
func mayMount() bool { return os.Getenv(envNamespace) != "" }

// inNamespace runs the program again in a mount namespace of its own, which ends with it, if
// that is allowed. It reports whether it has.
func inNamespace() (code int, done bool) {
	if os.Getenv(envNamespace) != "" || os.Geteuid() != 0 {
		return 0, false
	}
	self, err := os.Executable()
	if err != nil {
		return 0, false
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the thread that starts it must stay
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		return 0, false // without mounts, then
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode(), true
}
