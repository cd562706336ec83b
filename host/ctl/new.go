package ctl

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/host/ctl/scaffold"
	"github.com/backplane/leptir/internal/version"
)

func (p *program) newCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "new COMMAND [flags]",
		Short: "Write the beginnings of a plugin.",
		Long:  "Write the beginnings of something that one adds to leptir.",
		Args:  noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("say what to write: the commands are %s", strings.Join(commandNames(cmd), ", "))
		},
	}
	cmd.AddCommand(p.newPluginCommand())
	return cmd
}

func (p *program) newPluginCommand() *cobra.Command {
	var s scaffold.Plugin
	cmd := &cobra.Command{
		Use:   "plugin NAME [flags]",
		Short: "Write a Go module with a task, its test and a Makefile.",
		Long: "Write a small plugin to begin with: a Go module that compiles, with a task, its test, a Makefile and a README. " +
			"NAME is the plugin's name and the first part of its task type's. Nothing that is there is overwritten.",
		Example: `  leptirctl new plugin mailer -module example.com/mailer
  cd mailer && go mod tidy && make test run`,
		Args:              arguments("the NAME of the plugin"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.Name, s.Version = args[0], version.String()
			if err := s.Check(); err != nil {
				return usageError{err.Error()}
			}
			return p.newPlugin(s)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Var(newValue(&s.Module, "PATH", nonEmpty), "module", "the Go module's path; by default example.com/NAME")
	flags.Var(newValue(&s.Dir, "FOLDER", nonEmpty), "dir", "the folder to write to, which must be new or empty; by default NAME")
	flags.Var(newValue(&s.SDK, "PATH", nonEmpty), "sdk", "a folder with leptir's source to build against, by a replace directive; by default the published module")
	return cmd
}

// newPlugin writes a plugin, and says what to do with it.
func (p *program) newPlugin(s scaffold.Plugin) error {
	files, err := s.Write()
	if err != nil {
		return err
	}
	for _, file := range files {
		fmt.Fprintln(p.out, file)
	}
	tidy := ""
	if s.SDK == "" {
		tidy = "go mod tidy && "
	}
	fmt.Fprintf(p.out, "\nNow: cd %s && %smake test run\n", filepath.ToSlash(s.Dir), tidy)
	return nil
}
