package ctl

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/mitchellh/go-wordwrap"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the width of texts in the help.
const helpWidth = 90

func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Say how a command is used.",
		RunE: func(cmd *cobra.Command, args []string) error {
			of := cmd.Root()
			for _, name := range args {
				next := of
				for _, sub := range of.Commands() {
					if sub.Name() == name {
						next = sub
					}
				}
				if next == of {
					return noCommand(of, []string{name})
				}
				of = next
			}
			return of.Help()
		},
	}
}

// help writes how a command is used.
func help(cmd *cobra.Command, _ []string) {
	var b strings.Builder
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	b.WriteString(wordwrap.WrapString(text, helpWidth))
	b.WriteString("\n\nUsage:\n")
	if cmd.Runnable() {
		use := cmd.Use
		if cmd.HasParent() {
			use = cmd.Parent().CommandPath() + " " + use
		}
		fmt.Fprintf(&b, "  %s\n", use)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				fmt.Fprintf(w, "  %s\t%s\n", sub.Name(), sub.Short)
			}
		}
		_ = w.Flush() // into a strings.Builder
	}
	b.WriteString("\nFlags:\n")
	helpFlags(&b, cmd)
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	// An error of the output stays in it, and is reported at the end.
	_, _ = fmt.Fprint(cmd.OutOrStdout(), b.String())
}

// helpFlags writes the flags of a command, its own and those that it has from above.
func helpFlags(b *strings.Builder, cmd *cobra.Command) {
	cmd.InheritedFlags() // gathers them into Flags
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		head := "-" + f.Name
		if f.NoOptDefVal == "" {
			head += " " + f.Value.Type()
		}
		usage := strings.Split(wordwrap.WrapString(f.Usage, helpWidth-26), "\n")
		if len(head) > 22 {
			fmt.Fprintf(b, "  %s\n", head)
			head = ""
		}
		for _, line := range usage {
			fmt.Fprintf(b, "  %-22s  %s\n", head, line)
			head = ""
		}
	})
}
