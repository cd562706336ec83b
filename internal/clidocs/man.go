package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/backplane/leptir/host/ctl"
	"github.com/backplane/leptir/internal/version"
)

// manPages writes the man pages to a folder, which is made if need be: one a command, as
// leptirctl-push.1, and leptir-host.1. The date is $SOURCE_DATE_EPOCH's where that is set.
func manPages(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("man pages: %w", err)
	}
	root := ctl.Command()
	host := &cobra.Command{
		Use:   "leptir-host [flags]",
		Short: "run tasks, each in a process of its own",
		Long: "The host of leptir, a daemon: it takes tasks from its queues, runs each in a plugin process, kills it at its time limit, and records what happened.\n\n" +
			indent(hostHelp()),
		DisableFlagsInUseLine: true,
		Run:                   func(*cobra.Command, []string) {},
	}
	for _, cmd := range []*cobra.Command{root, host} {
		each(cmd, func(cmd *cobra.Command) { cmd.DisableAutoGenTag = true })
		if cmd == root {
			each(cmd, describeOptions)
			each(cmd, hideOptions)
		}
		head := &doc.GenManHeader{Section: "1", Source: "leptir " + version.String(), Manual: "leptir"}
		if err := doc.GenManTree(cmd, head, dir); err != nil {
			return fmt.Errorf("man pages: %w", err)
		}
	}
	return nil
}

// describeOptions adds the section of a command's options to what it says of itself. Cobra's
// own names no values: it has --timeout= for -timeout DURATION.
func describeOptions(cmd *cobra.Command) {
	var b strings.Builder
	b.WriteString(text(cmd) + "\n\n# OPTIONS\n")
	for _, f := range append(shown(cmd.LocalNonPersistentFlags(), "help"), shown(cmd.Root().PersistentFlags())...) {
		name, value := flagName(f)
		fmt.Fprintf(&b, "**%s**", name)
		if value != "" {
			fmt.Fprintf(&b, " *%s*", value)
		}
		fmt.Fprintf(&b, "\n: %s\n\n", f.Usage)
	}
	cmd.Long = b.String()
}

// hideOptions hides a command's options from cobra.
func hideOptions(cmd *cobra.Command) {
	for _, set := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		set.VisitAll(func(f *pflag.Flag) { f.Hidden = true })
	}
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ") + "\n"
}
