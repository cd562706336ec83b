package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

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
		head := &doc.GenManHeader{Section: "1", Source: "leptir " + version.String(), Manual: "leptir"}
		if err := doc.GenManTree(cmd, head, dir); err != nil {
			return fmt.Errorf("man pages: %w", err)
		}
	}
	return nil
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ") + "\n"
}
