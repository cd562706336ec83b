package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
)

// TestHostileFiles reads files made to overflow the stack or to take for ever: each must
// be refused, or read, in a moment. A stack overflow would end the test's process.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	few := func(s string) string { return strings.Repeat(s, 3_000) }   // within the limits, or beyond that of nesting
	fill := func(s string) string { return strings.Repeat(s, 21_000) } // beyond the others
	for name, test := range map[string]struct{ src, want string }{
		"brackets":          {"a = " + few("["), "nested more than 64 deep"},
		"parentheses":       {"a = " + few("("), "nested more than 64 deep"},
		"braces":            {"a = " + few("{"), "nested more than 64 deep"},
		"blocks":            {few("a {\n"), "nested more than 64 deep"},
		"templates":         {"a = " + few(`"${`), "nested more than 64 deep"},
		"template controls": {"a = \"" + fill("%{ if true }"), "more than 20000 operators and brackets"},
		"calls":             {"a = " + few("f("), "nested more than 64 deep"},
		"crossed brackets":  {"a = " + fill("[)"), "more than 20000 operators and brackets"},
		"minus":             {"a = " + fill("-"), "more than 20000 operators and brackets"},
		"not":               {"a = " + fill("!"), "more than 20000 operators and brackets"},
		"sum":               {"a = 1" + fill("+1"), "more than 20000 operators and brackets"},
		"conditions":        {"a = 1" + fill(" ? 1 : 1"), "more than 20000 operators and brackets"},
		"indices":           {"a = b" + fill("[0]"), "more than 20000 operators and brackets"},
		"attributes":        {"a = b" + fill(".c"), "more than 20000 operators and brackets"},
		"splats":            {"a = b" + fill("[*]"), "more than 20000 operators and brackets"},
		"semicolons":        {fill(";"), "more than 20000 operators and brackets"},
		"quotes":            {"a = " + few(`"`), "error"},
		"one text":          {"host {\n  name = \"" + few("x") + "\"\n}\n", "at most 255 are allowed"},
		"heredoc":           {"a = <<A\n" + fill("x\n"), "more than 20000 lines or parts"},
		"heredocs":          {fill("<<A\n"), "more than 20000 heredocs"},
		"names":             {few("a = 1\n"), "error"},
		"unknown blocks":    {few("a {}\n"), "error"},
		"long name":         {few("a") + " = 1", "has no attribute"},
		"dollars":           {"a = \"" + fill("$"), "more than 20000 lines or parts"},
		"list":              {"plugin \"p\" {\n  arguments = [" + few(`"", `) + "{}]\n}\n", "must be a text, not a map"},
		"map":               {"task_alias = {" + few("a=1,") + "}", "is there twice"},
		"zero bytes":        {few("\x00"), "error"},
		"for in for":        {"a = [for a in b : " + strings.Repeat("[for a in b : ", 50) + "a" + strings.Repeat("]", 51), "is not available here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse([]byte(test.src), "leptir.hcl", testKinds())
			require.ErrorContains(t, err, test.want)
		})
	}
}

// TestJustAllowed reads what is as deep and as long as is allowed.
func TestJustAllowed(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]string{
		"minus":      "host {\n  max_crashes = " + strings.Repeat("-", 19_990) + "1\n}\n",
		"sum":        "host {\n  number_of_workers = 1" + strings.Repeat("+1", 9_999) + "\n}\n",
		"brackets":   "host {\n  max_crashes = " + strings.Repeat("(", 60) + "1" + strings.Repeat(")", 60) + "\n}\n",
		"conditions": "host {\n  max_crashes = 1" + strings.Repeat(" > 0 ? 1", 6_000) + strings.Repeat(" : 1", 6_000) + "\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse([]byte(src), "leptir.hcl", testKinds())
			require.NoError(t, err)
		})
	}
}
