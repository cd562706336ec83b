package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
)

var (
	sumA = strings.Repeat("a1", 32)
	sumB = strings.Repeat("b2", 32)
)

func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), config.LockFileName)
	none, err := config.LoadLock(path)
	require.NoError(t, err)
	require.Nil(t, none)
	require.NoError(t, none.Check("mailer", sumA), "without a lock file everything is allowed")

	l := &config.Lock{Path: path, Pins: map[string][]string{"mailer": {sumA}, `odd "name" ${x}`: {sumA, sumB}}}
	require.NoError(t, l.Write())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode().Perm())
	back, err := config.LoadLock(path)
	require.NoError(t, err)
	require.Equal(t, l, back)

	require.NoError(t, back.Check("mailer", sumA))
	require.NoError(t, back.Check(`odd "name" ${x}`, sumB))
	require.EqualError(t, back.Check("mailer", sumB), "its sha256 is "+sumB+", and "+path+" allows "+sumA+"; if it is to be served, run: leptirctl plugins lock")
	require.EqualError(t, back.Check("other", sumA), "it is not in "+path+"; if it is to be served, run: leptirctl plugins lock")

	require.NoError(t, os.Chmod(path, 0o666))
	_, err = config.LoadLock(path)
	require.ErrorContains(t, err, "everybody may write it, so that it pins nothing; run: chmod o-w")

	require.NoError(t, os.WriteFile(path, []byte("x = 1\n"), 0o600))
	require.NoError(t, os.Chmod(path, 0o600))
	_, err = config.LoadLock(path)
	require.ErrorContains(t, err, `there is no attribute "x"`)
	require.Error(t, (&config.Lock{Path: filepath.Join(path, "below", "a file")}).Write())
}

func TestParseLockErrors(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		`plugin "a" {`:                    "leptir.hcl:1",
		`plugin { sha256 = "x" }`:         "a lock file has only blocks like plugin",
		`host {}`:                         "a lock file has only blocks like plugin",
		`plugin "a" "b" {}`:               "a lock file has only blocks like plugin",
		`plugin "a" {}`:                   `plugin "a" has no sha256`,
		`plugin "a" { sha256 = "12" }`:    "is not the 64 hexadecimal digits of a sum",
		`plugin "a" { sha256 = 12 }`:      "is not a text or a list of texts",
		`plugin "a" { sha256 = null }`:    "is not a text or a list of texts",
		`plugin "a" { sha256 = env("A")}`: "is not a text or a list of texts",
		`plugin "a" { sha256 = [] }`:      "has 0 sums",
		"plugin \"a\" {\n sha = \"x\"\n}": `plugin "a" has no attribute "sha"; there is sha256`,
		"plugin \"a\" {\n sha256 = \"" + sumA + "\"\n}\nplugin \"a\" {\n sha256 = \"" + sumA + "\"\n}": `there are two blocks of plugin "a"`,
		"plugin \"a\" {\n sha256 = \"" + sumA + "\"\n x {}\n}":                                         `plugin "a" has no block "x"`,
	} {
		_, err := config.ParseLock([]byte(src), "/etc/leptir/leptir.hcl")
		require.ErrorContains(t, err, want, src)
		checkErrorText(t, err)
	}
	l, err := config.ParseLock([]byte(`plugin "a" { sha256 = ["`+strings.ToUpper(sumA)+`"] }`), "/etc/leptir/leptir.hcl")
	require.NoError(t, err)
	require.Equal(t, map[string][]string{"a": {sumA}}, l.Pins)
}

// FuzzParseLock reads anything: it must end in a lock that can be written and read again,
// or in an error that can be shown on a terminal.
func FuzzParseLock(f *testing.F) {
	f.Add([]byte("# comment\nplugin \"mailer\" {\n  sha256 = \"" + sumA + "\"\n}\n"))
	f.Add([]byte("plugin \"a\" {\n  sha256 = [\"" + sumA + "\", \"" + sumB + "\"]\n}\n"))
	f.Add([]byte("plugin \"${a}\" {\n  sha256 = <<X\n" + sumA + "\nX\n}\n"))
	f.Add([]byte(`plugin "a" { sha256 = [for x in ["y"]: x] }`))
	f.Fuzz(func(t *testing.T, src []byte) {
		l, err := config.ParseLock(src, "/etc/leptir/leptir.hcl")
		if err != nil {
			require.Nil(t, l)
			checkErrorText(t, err)
			return
		}
		l.Path = filepath.Join(t.TempDir(), "lock.hcl")
		require.NoError(t, l.Write())
		again, err := config.LoadLock(l.Path)
		require.NoError(t, err)
		require.Equal(t, l.Pins, again.Pins)
	})
}
