package scaffold_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/ctl/scaffold"
	"github.com/backplane/leptir/internal/testbin"
)

func Example() {
	dir, _ := os.MkdirTemp("", "leptir")
	defer os.RemoveAll(dir)

	files, err := scaffold.Plugin{Name: "mailer", Dir: filepath.Join(dir, "mailer")}.Write()
	for _, file := range files {
		fmt.Println(filepath.Base(file))
	}
	fmt.Println(err)
	// Output:
	// .gitignore
	// Makefile
	// README.md
	// go.mod
	// greet.go
	// greet_test.go
	// main.go
	// <nil>
}

func TestNamesAreChecked(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "mailer", "mail-er_2"} {
		p := scaffold.Plugin{Name: name}
		require.NoError(t, p.Check())
		require.Equal(t, scaffold.Plugin{Name: name, Module: "example.com/" + name, Dir: name}, p)
	}
	for _, name := range []string{"", "Mailer", "2mail", "../x", "a/b", "a b", "a.b", "-a", "ä", "a\n", strings.Repeat("a", 65)} {
		require.ErrorContains(t, (&scaffold.Plugin{Name: name}).Check(), "plugin name", "%q", name)
	}
	for _, module := range []string{"a b", "/a", "a/../b", "a//b", `a"b`, "github.com/backplane/leptir", "github.com/backplane/leptir/mailer"} {
		require.ErrorContains(t, (&scaffold.Plugin{Name: "a", Module: module}).Check(), "module path", "%q", module)
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine")
	require.NoError(t, os.WriteFile(mine, []byte("x"), 0o600))
	_, err := scaffold.Plugin{Name: "a", Dir: dir}.Write()
	require.EqualError(t, err, dir+" is not empty, and nothing is overwritten; name another folder")
	_, err = scaffold.Plugin{Name: "a", Dir: mine}.Write()
	require.Error(t, err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)

	require.NoError(t, os.Remove(mine))
	files, err := scaffold.Plugin{Name: "a", Dir: dir}.Write()
	require.NoError(t, err, "an empty folder will do")
	require.Len(t, files, 7)
}

func TestNothingIsLeftOfAFailure(t *testing.T) {
	t.Parallel()
	empty, dir := t.TempDir(), filepath.Join(t.TempDir(), "a")
	_, err := scaffold.Plugin{Name: "a", Dir: dir, SDK: empty}.Write()
	require.ErrorContains(t, err, "leptir's source in "+empty+": open ")
	require.NoDirExists(t, dir)
	require.NoError(t, os.WriteFile(filepath.Join(empty, "go.mod"), []byte("module example.com/other\n"), 0o600))
	_, err = scaffold.Plugin{Name: "a", Dir: dir, SDK: empty}.Write()
	require.ErrorContains(t, err, "it is not module github.com/backplane/leptir")
	require.NoDirExists(t, dir)
}

func TestVersionOfTheSDK(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"v1.2.3": "github.com/backplane/leptir v1.2.3", "v1.2.3-rc.1": "github.com/backplane/leptir v1.2.3-rc.1",
		"dev": "", "dev-0123456789ab-dirty": "", "v0.0.0-20260101000000-0123456789ab": "", "": "",
	} {
		dir := t.TempDir()
		_, err := scaffold.Plugin{Name: "a", Dir: dir, Version: version}.Write()
		require.NoError(t, err)
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		require.NoError(t, err)
		if want == "" {
			require.NotContains(t, string(mod), "leptir", version)
			continue
		}
		require.Contains(t, string(mod), want)
	}
}

// The Go version that is written where the SDK is not at hand is the one that it needs.
func TestGoVersion(t *testing.T) {
	t.Parallel()
	own, err := os.ReadFile(filepath.Join(testbin.Root(), "go.mod"))
	require.NoError(t, err)
	dir := t.TempDir()
	_, err = scaffold.Plugin{Name: "a", Dir: dir}.Write()
	require.NoError(t, err)
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	line := func(text string) string {
		_, rest, ok := strings.Cut(text, "\ngo ")
		require.True(t, ok)
		version, _, _ := strings.Cut(rest, "\n")
		return version
	}
	require.Equal(t, line(string(own)), line(string(mod)+"\n"))
}
