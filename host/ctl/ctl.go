// Package ctl is leptirctl, the operator's command line: pushing tasks, looking at them and
// at the queues, putting dead letters back. It owns the commands, their flags, output and
// exit codes; what a queue or a record is, it takes from the packages below. It talks to
// brokers and stores itself and needs no running host.
package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/internal/version"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // the command line cannot be carried out as it is written
)

// program is one run of leptirctl.
type program struct {
	stdin  io.Reader
	out    *output // stdout
	config string  // -config
}

// Run carries out a command line (without the program's name) and returns the exit code: 0
// done, 1 failed, 2 for a command line that makes no sense, of which nothing was done then.
// What was asked for goes to stdout, errors go to stderr. The end of ctx ends waits.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, out: newOutput(stdout)}
	root := p.root()
	root.SetOut(p.out)
	root.SetErr(stderr)
	root.SetArgs(normalize(args, flagsOf(root)))
	cmd, err := root.ExecuteContextC(ctx)
	if flushErr := p.out.Flush(); err == nil && flushErr != nil {
		err = fmt.Errorf("cannot write the output: %w", flushErr)
	}
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted: %w", err)
	}
	report(stderr, cmd, err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

// usageError is a mistake in the command line.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// report writes an error as one sentence; that of a configuration file, which has several
// lines, as it is.
func report(stderr io.Writer, cmd *cobra.Command, err error) {
	if broken, ok := errors.AsType[*config.Error](err); ok {
		text := broken.Error()
		if i := strings.LastIndexByte(text, '\n'); i >= 0 {
			fmt.Fprintln(stderr, text[:i])
			text = text[i+1:]
		}
		fmt.Fprintln(stderr, "leptirctl: "+text)
		return
	}
	text := err.Error()
	if errors.As(err, new(usageError)) {
		see := "; see"
		if strings.HasSuffix(text, "?") {
			see = " See"
		}
		text += fmt.Sprintf("%s %q", see, cmd.CommandPath()+" -help")
	}
	fmt.Fprintln(stderr, "leptirctl: "+sentence(text))
}

// Command returns leptirctl's command, with all that are below it, for those who document
// it. It is run by Run.
func Command() *cobra.Command { return (&program{out: newOutput(io.Discard)}).root() }

func (p *program) root() *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:   "leptirctl COMMAND [flags]",
		Short: "Push tasks to leptir's queues, and see what became of them.",
		Long: "Push tasks to leptir's queues, and see what became of them. leptirctl talks to the brokers and meta storages of the " +
			"configuration file; no host need run.\n\n" +
			"Flags can be written with one dash or two, before or after the arguments; -- ends them. " +
			"Exit codes: 0 done, 1 failed, 2 wrong usage.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				return p.version()
			}
			return usagef("say what to do: the commands are %s", strings.Join(commandNames(cmd), ", "))
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpFunc(help)
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().Var(newValue(&p.config, "FILE", nonEmpty), "config",
		"the configuration file; by default $"+config.EnvFile+", then "+config.FileName+" in the working folder, then "+config.SystemFile)
	root.PersistentFlags().Bool("help", false, "print this help")
	root.Flags().BoolVar(&showVersion, "version", false, "print the version")
	root.AddCommand(p.pushCommand(), p.runCommand(), p.pluginsCommand(), p.taskCommand(), p.statusCommand(), p.cancelCommand(), p.queueCommand(), p.deadCommand(),
		p.validateCommand(), p.newCommand(), p.versionCommand(), p.completionCommand())
	root.AddCommand(p.hostCommands()...)
	root.AddCommand(p.serviceCommands()...)
	root.SetHelpCommand(helpCommand())
	return root
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version.",
		Args:  arguments(),
		RunE:  func(*cobra.Command, []string) error { return p.version() },
	}
}

func (p *program) version() error {
	_, err := fmt.Fprintln(p.out, "leptirctl", version.String())
	return err
}
