package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/host"
	"github.com/backplane/leptir/host/catalog"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/logging"
	"github.com/backplane/leptir/task"
)

// progressEvery is how often a line of progress is printed at most.
const progressEvery = 200 * time.Millisecond

// runFlags are the flags of run.
type runFlags struct {
	single    params
	params    string
	plugin    string
	priority  int
	timeLimit time.Duration
	id        string
	debug     bool
	force     bool
	quiet     bool
	json      bool
	table     bool
}

func (p *program) runCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run TYPE [flags]",
		Short: "Run one task now, without a queue, and print its record.",
		Long: "Run one task of the given type now, in a plugin process as a host starts it, and print its record as JSON. No broker, meta storage or " +
			"host is needed, nor a configuration file: then the plugins are those in the folder plugins.\n\n" +
			"What the task logs and prints, and how far it is, goes to stderr. A time limit kills it as a host does; Ctrl-C cancels it. It is attempted once; tasks " +
			"that it pushes are shown and go nowhere. The exit code is 1 if it failed or ran out of time.\n\n" +
			"With -debug the process waits for a debugger before the task begins, and has no time limit.",
		Example: `  leptirctl run hello.greet -p name=ann
  leptirctl run hello.greet -plugin ./hello -debug`,
		Args:              arguments("the TYPE of the task"),
		ValidArgsFunction: p.completeType,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.json && f.table {
				return errJSONAndTable
			}
			t, err := p.newTask(cmd.Context(), args[0], &pushFlags{single: f.single, params: f.params, priority: f.priority, timeLimit: f.timeLimit, id: f.id})
			if err != nil {
				return err
			}
			return p.run(cmd.Context(), t, f, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	addParams(flags, &f.single, &f.params)
	flags.Var(newValue(&f.plugin, "FILE", nonEmpty), "plugin", "the plugin's binary; by default the one in the configuration's plugin_dir that serves the type")
	flags.Var(newValue(&f.timeLimit, "DURATION", timeLimit), "time-limit", "the most time that it may run; by default what the configuration says; none is no limit")
	flags.Var(newValue(&f.priority, "N", wholeNumber), "priority", "the priority that the task sees, 0 by default")
	flags.Var(newValue(&f.id, "ID", taskID), "id", "the task's id; by default a new one")
	flags.BoolVar(&f.debug, "debug", false, "show how to attach a debugger to the process, and wait for Enter before the task begins; without a time limit")
	flags.BoolVar(&f.force, "force", false, "run it although its parameters do not fit what the plugin has published")
	flags.BoolVar(&f.quiet, "quiet", false, "print the record only")
	flags.BoolVar(&f.json, "json", false, "print the record on one line")
	flags.BoolVar(&f.table, "table", false, "print the record as a table")
	return cmd
}

// loadOrDefault reads the configuration file, or stands the defaults in for one that is
// neither named nor there.
func (p *program) loadOrDefault() (*config.Config, error) {
	cfg, _, err := p.load()
	if errors.Is(err, config.ErrNoFile) {
		dir, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		return config.Default(dir, kinds()), nil
	}
	return cfg, err
}

// run runs a task and prints its record.
func (p *program) run(ctx context.Context, t task.Task, f *runFlags, stderr io.Writer) error {
	cfg, err := p.loadOrDefault()
	if err != nil {
		return err
	}
	s := &terminal{to: &lineWriter{w: stderr}}
	level := slog.LevelDebug
	if f.quiet {
		level = slog.LevelError + 1
	}
	logger, sinks := logging.New(logging.ToWriter(s.to, level))
	defer sinks.Close()
	once, err := host.OpenOnce(ctx, cfg, f.plugin, logger)
	if err != nil {
		if f.plugin == "" {
			err = fmt.Errorf("%w; or name a plugin with -plugin FILE", err)
		}
		return err
	}
	defer once.Close()
	if typ, ok := once.Plugins().Types()[t.Type]; ok && !f.force {
		if err := fitParams(&t, typ, f.single); err != nil {
			return usagef("%v (-force runs it all the same)", err)
		}
	}
	o := host.OnceTask{Task: t}
	if !f.quiet {
		o.Progress, o.State, o.Pushed, o.Undo = s.progress, s.state, s.pushed, s.undo
	}
	if f.debug {
		o.Hold = func(ctx context.Context, pid int) error { return p.hold(ctx, pid, stderr) }
	}
	r, err := once.Run(ctx, o)
	s.end()
	if errors.As(err, new(*host.NotServedError)) {
		return usageError{err.Error()}
	}
	if err != nil {
		return err
	}
	if !f.quiet {
		s.failure(r)
	}
	if err := p.printRecord(r, f.table, f.json); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: task %s: %s", r.ID, r.RespM)
	case r.RetC.Failed():
		return fmt.Errorf("task %s failed: %s", r.ID, r.RetC)
	}
	return nil
}

// hold says how to attach a debugger to a process, and waits for Enter.
func (p *program) hold(ctx context.Context, pid int, stderr io.Writer) error {
	text := fmt.Sprintf("The process %d waits for the task. Attach a debugger, set a breakpoint, continue, then press Enter here:\n"+
		"  dlv attach %d\n"+
		"Build the plugin with -gcflags='all=-N -l' to see every variable.\n", pid, pid)
	if scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); err == nil && strings.TrimSpace(string(scope)) != "0" {
		text += "This machine lets only root attach: sudo dlv attach, or sysctl kernel.yama.ptrace_scope=0.\n"
	}
	fmt.Fprint(stderr, text)
	pressed := make(chan struct{})
	go func() { // left behind when ctx ends: nothing makes a terminal return, and the program ends
		defer close(pressed)
		_, _ = bufio.NewReader(p.stdin).ReadString('\n')
	}()
	select {
	case <-pressed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("interrupted: %w", ctx.Err())
	}
}

// terminal shows what a running task says beside its log lines. Its methods are
// called by several goroutines.
type terminal struct {
	to *lineWriter

	mu      sync.Mutex
	last    time.Time      // when progress was printed
	waiting *task.Progress // not printed yet
}

func (s *terminal) progress(p task.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = &p
	if time.Since(s.last) >= progressEvery {
		s.print()
	}
}

// print prints the progress that waits. s.mu is held.
func (s *terminal) print() {
	if s.waiting == nil {
		return
	}
	s.to.line("progress " + howFar(*s.waiting))
	s.last, s.waiting = time.Now(), nil
}

func (s *terminal) state(state int) { s.to.line(fmt.Sprintf("state %d", state)) }

func (s *terminal) pushed(tasks []task.Task) {
	for _, t := range tasks {
		s.to.line(fmt.Sprintf("pushes task %s of type %s, which goes nowhere: %s", t.ID, t.Type, t.Params))
	}
}

func (s *terminal) undo(t task.Task) {
	s.to.line(fmt.Sprintf("would be undone by a task of type %s, which goes nowhere: %s", t.Type, t.Params))
}

// failure prints why a task failed, so that nobody need read it from a record's JSON.
func (s *terminal) failure(r task.Record) {
	if r.Run.Error == "" {
		return
	}
	s.to.line("failed: " + r.Run.Error)
	lines := strings.Split(strings.TrimRight(r.Run.Stack, "\n"), "\n")
	for i, l := range lines {
		switch {
		case l == "":
		case i < maxStackLines:
			s.to.line("| " + strings.ReplaceAll(l, "\t", "    "))
		case i == maxStackLines:
			s.to.line(fmt.Sprintf("| … %d more lines, in the record", len(lines)-i))
		}
	}
}

// end prints what has not been printed yet.
func (s *terminal) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.print()
}

// lineWriter writes whole lines, one at a time.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (l *lineWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// line writes a text as one line, made harmless.
func (l *lineWriter) line(text string) {
	_, _ = fmt.Fprintln(l, clip(sentence(text), maxLine)) // there is nowhere to report an error of stderr
}

const (
	// maxLine is the most characters of a line that a task says.
	maxLine = 500
	// maxStackLines is how many lines of a stack are shown beside the record.
	maxStackLines = 30
)

// completeType completes the type of a task: of those that the plugins in reach serve.
func (p *program) completeType(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeLimit)
	defer cancel()
	cfg, err := p.loadOrDefault()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var known map[string]catalog.KnownType
	if binary := cmd.Flags().Lookup("plugin"); binary != nil && binary.Value.String() != "" {
		once, err := host.OpenOnce(ctx, cfg, binary.Value.String(), slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer once.Close()
		known = once.Plugins().Types()
	} else if known, err = host.KnownTypes(ctx, cfg); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var types []cobra.Completion
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if strings.HasPrefix(name, typed) {
			types = append(types, cobra.CompletionWithDesc(name, known[name].Doc))
		}
	}
	return types, cobra.ShellCompDirectiveNoFileComp
}

// completeLimit is how long somebody who presses Tab waits at most.
const completeLimit = 5 * time.Second
