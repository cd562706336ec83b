package ctl

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/backplane/leptir/internal/suggest"
)

// flagsOf returns the names of the flags of a command and of all below it, and whether
// each takes a value.
func flagsOf(root *cobra.Command) map[string]bool {
	flags := map[string]bool{}
	add := func(f *pflag.Flag) { flags[f.Name] = f.NoOptDefVal == "" }
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(add)
		cmd.PersistentFlags().VisitAll(add)
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return flags
}

// normalize rewrites a command line so that flags can be written with one dash, which
// pflag takes for a row of one-letter flags, and that the value of a flag can begin with a
// dash: every flag becomes --name or --name=value. takesValue has the known flags.
func normalize(args []string, takesValue map[string]bool) []string {
	if len(args) > 1 && strings.HasPrefix(args[0], "__complete") {
		// cobra's own, from the scripts that complete command lines. The last word is the
		// one that somebody is about to write.
		last := len(args) - 1
		return append(append(args[:1:1], normalize(args[1:last], takesValue)...), args[last])
	}
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...)
		}
		if len(arg) < 2 || arg[0] != '-' {
			out = append(out, arg)
			continue
		}
		body := strings.TrimPrefix(arg[1:], "-")
		name, _, hasValue := strings.Cut(body, "=")
		switch {
		case body == "h":
			body = "help"
		case takesValue[name] && !hasValue && i+1 < len(args):
			i++
			body += "=" + args[i]
		}
		out = append(out, "--"+body)
	}
	return out
}

// flagError says in a sentence what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := e.GetSpecifiedName()
		return usagef("there is no flag -%s%s", name, didYouMean(name, flagNames(cmd), "-"))
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return usagef("-%s needs a value: -%s %s", e.GetSpecifiedName(), e.GetSpecifiedName(), e.GetFlag().Value.Type())
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		if e.GetFlag().Value.Type() == "bool" {
			return usagef("-%s must be true or false, not %q", e.GetFlag().Name, shorten(e.GetValue()))
		}
		return usagef("-%s %v", e.GetFlag().Name, errors.Unwrap(err))
	}
	if e, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		return usagef("%q is not a flag", shorten(e.GetSpecifiedFlag()))
	}
	return usageError{err.Error()}
}

func flagNames(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

func commandNames(cmd *cobra.Command) (names []string) {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// arguments is a check of a command's arguments: there must be as many as names.
func arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usagef("%s needs %s", cmd.Name(), names[len(args)])
		}
		if len(args) > len(names) {
			hint := ""
			if strings.Contains(args[len(names)], "=") && cmd.Flags().Lookup("p") != nil {
				hint = "; a parameter is given with -p name=value"
			}
			return usagef("unexpected argument %q%s", shorten(args[len(names)]), hint)
		}
		return nil
	}
}

// noCommand is the check of the arguments of a command that only has commands below it:
// whatever is there is none of them.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	names := commandNames(cmd)
	hint := didYouMean(args[0], names, "")
	if hint == "" {
		hint = "; the commands are " + strings.Join(names, ", ")
	}
	return usagef("there is no command %q%s", shorten(args[0]), hint)
}

// didYouMean returns the end of a message about an unknown name: the known one that is
// near, if there is one.
func didYouMean(typed string, known []string, prefix string) string {
	if name := suggest.Name(typed, known); name != "" {
		return fmt.Sprintf("; did you mean %s%s?", prefix, name)
	}
	return ""
}
