package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/logging"
	"github.com/backplane/leptir/internal/settings"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestLoad(t *testing.T) {
	t.Parallel()
	path := write(t, "my.hcl", `
		broker "sqlite" "q" {
			path     = "q.db"
			priority = 3
		}`)
	c, err := config.Load(path, testKinds())
	require.NoError(t, err)
	require.Equal(t, path, c.Path)
	require.Equal(t, filepath.Dir(path), c.Dir)
	require.Len(t, c.Brokers, 1)
	require.Equal(t, 3, c.Brokers[0].Priority)
	require.Equal(t, 200*time.Millisecond, c.Brokers[0].TaskCountCachingTime)
	require.Equal(t, &fileBroker{
		Path:        settings.Path(filepath.Join(filepath.Dir(path), "q.db")),
		Synchronous: "normal",
		BusyTimeout: 5 * time.Second,
		CacheSize:   2 << 20,
	}, c.Brokers[0].Settings)
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.hcl")
	huge := write(t, "huge.hcl", strings.Repeat("#", config.MaxFileBytes+1))
	for name, test := range map[string]struct {
		path, want string
		is         error
	}{
		"missing": {missing, missing + ": error: open " + missing + ": no such file or directory\n1 error in " + missing, fs.ErrNotExist},
		"folder":  {dir, dir + ": error: read " + dir + ": is a directory\n1 error in " + dir, nil},
		"huge":    {huge, huge + ": error: the file is larger than 1MiB\n1 error in " + huge, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(test.path, testKinds())
			require.EqualError(t, err, test.want)
			var e *config.Error
			require.True(t, errors.As(err, &e))
			require.Len(t, e.Diagnostics(), 1)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
		})
	}
}

func TestLargestFile(t *testing.T) {
	t.Parallel()
	// Refused for what is in it, at a glance, and not for its size.
	src := []byte("\xff" + strings.Repeat(" ", config.MaxFileBytes-1))
	_, err := config.Parse(src, "leptir.hcl", testKinds())
	require.ErrorContains(t, err, "not UTF-8")
	_, err = config.Parse(append(src, ' '), "leptir.hcl", testKinds())
	require.ErrorContains(t, err, "larger than 1MiB")
}

func TestDiagnostics(t *testing.T) {
	t.Parallel()
	_, err := config.Parse([]byte("host {\n  nam = 1\n}\nplugin {}\n"), "x.hcl", testKinds())
	var e *config.Error
	require.True(t, errors.As(err, &e))
	diags := e.Diagnostics()
	require.Len(t, diags, 2)
	require.True(t, diags.HasErrors())
	require.Equal(t, `host has no attribute "nam"; did you mean "name"?`, diags[0].Summary)
	require.Equal(t, 2, diags[0].Subject.Start.Line)
	require.Equal(t, "x.hcl", diags[0].Subject.Filename)
	require.Equal(t, 4, diags[1].Subject.Start.Line)
	require.NoError(t, errors.Unwrap(err))
}

func TestDefault(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := config.Default(dir, testKinds())
	require.Empty(t, c.Path)
	require.Equal(t, dir, c.Dir)
	parsed, err := config.Parse(nil, filepath.Join(dir, config.FileName), testKinds())
	require.NoError(t, err)
	parsed.Path = ""
	require.Equal(t, parsed, c)
	require.Equal(t, 600*time.Second, c.Host.TaskExecutionTime)
	require.Equal(t, settings.Path(filepath.Join(dir, "var/leptir")), c.Host.StateDir)

	require.Empty(t, config.Default(dir, config.Kinds{}).Brokers)
	require.NotEmpty(t, config.Default(".", testKinds()).Dir)
}

func TestNoDefaultKind(t *testing.T) {
	t.Parallel()
	_, err := config.Parse([]byte("# nothing\n"), "leptir.hcl", config.Kinds{Loggers: logging.Standard(), Brokers: brokers.NewRegistry(
		brokers.Kind{Name: "other", New: func() brokers.Settings { return &fileBroker{} }},
	)})
	require.EqualError(t, err, strings.TrimPrefix(`
leptir.hcl:1:1: error: there is no broker block, and the default kind "sqlite" is not part of this program; the kinds are "other"
    1 | # nothing
      | ^
leptir.hcl:1:1: error: there is no meta_storage block, and the default kind "sqlite" is not part of this program; there are no kinds
    1 | # nothing
      | ^
2 errors in leptir.hcl`, "\n"))
	var e *config.Error
	require.True(t, errors.As(err, &e))
	require.Equal(t, "leptir.hcl", e.Diagnostics()[0].Subject.Filename)
}

func TestPlugin(t *testing.T) {
	t.Parallel()
	c, err := config.Parse([]byte(`
		host {
			number_of_workers   = 7
			task_execution_time = 0
			kill_grace          = 3
		}
		plugin "known" {
			spares        = 5
			max_processes = 0
		}`), "leptir.hcl", testKinds())
	require.NoError(t, err)

	known := c.Plugin("known")
	require.Equal(t, "known", known.Name)
	require.Equal(t, 5, known.Spares)
	require.Equal(t, 7, known.MaxProcesses)

	other := c.Plugin("other")
	require.Equal(t, "other", other.Name)
	require.Equal(t, 1, other.Spares)
	require.Equal(t, 7, other.MaxProcesses)
	require.Zero(t, other.TaskExecutionTime)
	require.Equal(t, 3*time.Second, other.KillGrace)
	require.Equal(t, config.IsolationPooled, other.Isolation)
	require.Equal(t, []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"}, other.EnvironmentAllow)

	// What a caller does with one must not change the next.
	other.EnvironmentAllow[0] = "CHANGED"
	require.Equal(t, "PATH", c.PluginDefaults().EnvironmentAllow[0])
}

// TestFind changes the environment and the working folder, and so cannot be parallel.
func TestFind(t *testing.T) {
	here, named := t.TempDir(), write(t, "named.hcl", "")
	missing := filepath.Join(here, "missing.hcl")
	t.Chdir(here)
	t.Setenv(config.EnvFile, "")
	if _, err := os.Stat(config.SystemFile); err == nil {
		t.Skip("this machine has a " + config.SystemFile)
	}

	_, err := config.Find("")
	require.ErrorIs(t, err, config.ErrNoFile)
	require.EqualError(t, err, "no configuration file: $LEPTIR_CONFIG is not set, and there is neither leptir.hcl in the working folder nor /etc/leptir/leptir.hcl")

	require.NoError(t, os.WriteFile(config.FileName, nil, 0o600))
	path, err := config.Find("")
	require.NoError(t, err)
	require.Equal(t, config.FileName, path)

	t.Setenv(config.EnvFile, named)
	path, err = config.Find("")
	require.NoError(t, err)
	require.Equal(t, named, path)

	path, err = config.Find(config.FileName)
	require.NoError(t, err)
	require.Equal(t, config.FileName, path)

	_, err = config.Find(missing)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, config.ErrNoFile)
	require.EqualError(t, err, "configuration file: stat "+missing+": no such file or directory")

	t.Setenv(config.EnvFile, missing)
	_, err = config.Find("")
	require.EqualError(t, err, "configuration file (from $LEPTIR_CONFIG): stat "+missing+": no such file or directory")
}
