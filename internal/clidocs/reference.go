package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/backplane/leptir/host/ctl"
	"github.com/backplane/leptir/host/daemon"
)

const intro = `# Command lines

This page is made from the commands: ` + "`go test ./internal/clidocs -update`" + ` writes it anew. The same is printed by
` + "`leptirctl help COMMAND`" + `, and ` + "`make man`" + ` makes man pages of it.

Flags can be written with one dash or two, as ` + "`-flag value` or `-flag=value`" + `, before or after the
arguments; ` + "`--`" + ` ends them. Exit codes: 0 done, 1 failed, 2 wrong usage (and nothing was done).

Commands, flags, and the task types that the plugins in reach serve are completed by the shell:

    source <(leptirctl completion bash)                                         # in ~/.bashrc
    leptirctl completion zsh > "${fpath[1]}/_leptirctl"                         # once
    leptirctl completion fish > ~/.config/fish/completions/leptirctl.fish       # once

`

// reference returns docs/cli.md.
func reference() string {
	var b strings.Builder
	b.WriteString(intro)
	fmt.Fprintf(&b, "## leptir-host\n\nThe host: a daemon that runs the tasks.\n\n```text\n%s```\n", hostHelp())
	each(ctl.Command(), func(cmd *cobra.Command) { section(&b, cmd) })
	return b.String()
}

// hostHelp returns what leptir-host says of its flags.
func hostHelp() string {
	var help bytes.Buffer
	daemon.Main([]string{"-help"}, &help, &help)
	return strings.ReplaceAll(help.String(), "\t", "    ")
}

// each calls do for a command and all below it that people see, in the order of the help.
func each(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			each(sub, do)
		}
	}
}

// section writes what there is to say of one command.
func section(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n", cmd.CommandPath(), text(cmd))
	use := cmd.Use
	if cmd.HasParent() {
		use = cmd.Parent().CommandPath() + " " + use
	}
	fmt.Fprintf(b, "    %s\n", use)
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\n| command | |\n|---|---|\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(b, "| [%s](#%s) | %s |\n", sub.Name(), strings.ReplaceAll(sub.CommandPath(), " ", "-"), cell(sub.Short))
			}
		}
	}
	rows := func(flags []*pflag.Flag) {
		b.WriteString("\n| flag | |\n|---|---|\n")
		for _, f := range flags {
			name, value := flagName(f)
			fmt.Fprintf(b, "| `%s` | %s |\n", cell(strings.TrimSpace(name+" "+value)), cell(f.Usage))
		}
	}
	if flags := shown(cmd.LocalNonPersistentFlags(), "help"); len(flags) > 0 {
		rows(flags)
	}
	if !cmd.HasParent() {
		b.WriteString("\nAll commands have these flags:\n")
		rows(shown(cmd.PersistentFlags()))
	}
	if cmd.Example != "" {
		b.WriteString("\nExamples:\n\n```sh\n")
		for line := range strings.Lines(cmd.Example) {
			b.WriteString(strings.TrimPrefix(strings.TrimRight(line, "\n"), "  ") + "\n")
		}
		b.WriteString("```\n")
	}
}

// shown returns the flags that people see, but for those of the given names.
func shown(set *pflag.FlagSet, but ...string) (flags []*pflag.Flag) {
	set.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && !slices.Contains(but, f.Name) {
			flags = append(flags, f)
		}
	})
	return flags
}

// flagName returns how a flag is written, and what its value is called if it has one.
func flagName(f *pflag.Flag) (name, value string) {
	if f.NoOptDefVal == "" {
		value = f.Value.Type()
	}
	return "-" + f.Name, value
}

// text is what a command says of itself.
func text(cmd *cobra.Command) string {
	if cmd.Long != "" {
		return cmd.Long
	}
	return cmd.Short
}

// cell makes a text fit into a table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;").Replace(s)
}
