package ctl

import (
	"strings"

	"github.com/spf13/cobra"
)

// shells are those that command lines can be completed in.
var shells = []string{"bash", "zsh", "fish", "powershell"}

func (p *program) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "completion " + strings.Join(shells, "|"),
		Short:     "Print a script that completes command lines.",
		Long:      "Print a script that lets a shell complete leptirctl's command lines.",
		Example:   "  source <(leptirctl completion bash)\n  source <(leptirctl completion zsh)\n  leptirctl completion fish > ~/.config/fish/completions/leptirctl.fish",
		Args:      arguments("the shell: " + strings.Join(shells, ", ")),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(p.out, true)
			case "zsh":
				return root.GenZshCompletion(p.out)
			case "fish":
				return root.GenFishCompletion(p.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(p.out)
			}
			return usagef("there is no script for the shell %q; the shells are %s", shorten(args[0]), strings.Join(shells, ", "))
		},
	}
}
