package ctl

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/task"
)

// TestNewPlugin writes a plugin, builds, tests and installs it as its README says, without
// a network, and runs its task.
func TestNewPlugin(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds a module")
	}
	s := newSite(t, "")
	dir := filepath.Join(s.dir, "mine")
	r := s.ctl("new", "plugin", "mailer", "-module", "example.org/team/mailer", "-dir", dir, "-sdk", testbin.Root())
	require.Zero(t, r.code, r.stderr)
	require.Equal(t, "DIR/mine/.gitignore\nDIR/mine/Makefile\nDIR/mine/README.md\nDIR/mine/go.mod\nDIR/mine/go.sum\nDIR/mine/greet.go\n"+
		"DIR/mine/greet_test.go\nDIR/mine/main.go\n\nNow: cd DIR/mine && make test run\n", r.stdout)

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	in := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=readonly", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s %v: %s", name, args, out)
		return string(out)
	}
	require.Empty(t, in("gofmt", "-l", "."))
	in("make", "lint", "test")
	in("make", "install", "PLUGIN_DIR="+filepath.Join(s.dir, "plugins"))
	require.Contains(t, in("make"), "install")

	r = s.ctl("run", "mailer.greet", "-p", "name=ann", "-p", "times=2")
	require.Zero(t, r.code, r.stderr)
	rec := record(t, r)
	require.Equal(t, task.Success, rec.RetC)
	require.Equal(t, "hello ann hello ann", rec.RespM)
	require.Equal(t, "mailer", rec.Run.Plugin)
	require.Contains(t, r.stderr, "progress 100% 2 of 2\n")
	r = s.ctl("run", "mailer.greet", "-p", "times=11")
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, `parameter "name": not defined`)
	require.Contains(t, r.stderr, `parameter "times": more than 10: 11`)

	r = s.ctl("new", "plugin", "mailer", "-dir", dir)
	require.Equal(t, result{1, "", "leptirctl: DIR/mine is not empty, and nothing is overwritten; name another folder\n"}, r)
}

func TestNewPluginWithoutTheSource(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	r := s.ctl("new", "plugin", "mailer", "-dir", filepath.Join(s.dir, "mailer"))
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stdout, "\nNow: cd DIR/mailer && go mod tidy && make test run\n")
	readme, err := os.ReadFile(filepath.Join(s.dir, "mailer", "README.md"))
	require.NoError(t, err)
	require.Contains(t, string(readme), "go mod tidy")
	for want, args := range map[string][]string{
		`say what to write: the commands are plugin; see "leptirctl new -help"`:                                                                                      {},
		`there is no command "plugn"; did you mean plugin? See "leptirctl new -help"`:                                                                                {"plugn"},
		`plugin needs the NAME of the plugin; see "leptirctl new plugin -help"`:                                                                                      {"plugin"},
		`plugin name "Bad Name": it must be a lower-case letter, then up to 63 lower-case letters, digits, dashes and underscores; see "leptirctl new plugin -help"`: {"plugin", "Bad Name"},
	} {
		require.Equal(t, result{2, "", "leptirctl: " + want + "\n"}, s.ctl(append([]string{"new"}, args...)...))
	}
}
