package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
)

// FuzzParse reads anything: it must end in a configuration that reads back as itself, or
// in an error that can be shown on a terminal.
func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join("testdata", "*.hcl"))
	require.NoError(f, err)
	for _, path := range paths {
		src, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := config.Parse(src, "/etc/leptir/leptir.hcl", testKinds())
		if err != nil {
			require.Nil(t, c)
			checkErrorText(t, err)
			return
		}
		again, err := config.Parse([]byte(c.String()), "/etc/leptir/leptir.hcl", testKinds())
		require.NoError(t, err, c.String())
		require.Equal(t, c.String(), again.String())
	})
}

// checkErrorText checks the form of an error's text.
func checkErrorText(t *testing.T, err error) {
	t.Helper()
	e, ok := err.(*config.Error)
	require.True(t, ok)
	require.True(t, e.Diagnostics().HasErrors())
	lines := strings.Split(e.Error(), "\n")
	require.Regexp(t, `^\d+ errors? in /etc/leptir/leptir.hcl$`, lines[len(lines)-1])
	for _, line := range lines {
		require.False(t, strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) && r != '\t' }), "%q", line)
	}
}

// FuzzSecret puts a secret where a secret belongs, into whatever surroundings: no error
// may show it.
func FuzzSecret(f *testing.F) {
	for _, around := range [][2]string{
		{"", ""}, {"}", "{"}, {"address = 5\n", "\n"}, {"pool {", "}"}, {"\n\x00", "\""},
		{"password = 1\n", "\nx = "}, {"<<A\n", "\nA\n"}, {"a = [", "]"}, {"# ", ""}, {"username = ", "${"},
	} {
		f.Add(around[0], around[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "Xq7hunter2q7X"
		src := "broker \"server\" \"main\" {\n  connection {\n" + before + "\n    password = \"" + secret + "\"\n" + after + "  }\n}\n"
		if strings.Contains(before, "<<") || strings.Count(before, `"`)%2 != 0 || strings.Contains(before, "/*") {
			t.Skip("the secret is within another text, or a comment")
		}
		if _, err := config.Parse([]byte(src), "/etc/leptir/leptir.hcl", testKinds()); err != nil {
			require.NotContains(t, err.Error(), secret)
		}
	})
}
