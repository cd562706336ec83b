package ctl

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
)

// drop puts an executable file that is no plugin into the site's plugin folder.
func (s *site) drop(name, text string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, "plugins", name), []byte(text), 0o700))
}

func TestPlugins(t *testing.T) {
	t.Parallel()
	s := newSite(t, "plugin \"other\" {\n  dev_override = true\n}\n")
	require.Equal(t, "there is no plugin in DIR/plugins\n", s.ctl("plugins", "list").stdout)
	s.plugin("plugins/demo")
	s.drop("script", "#!/bin/false\n")

	out := s.ok("plugins", "list")
	require.Regexp(t, `(?m)^NAME +STATUS +VERSION +TYPES +SHA256 +PIN +PROBLEM\ndemo +ready +\S+ +10 +[0-9a-f]{12} +- +-\nscript +broken +- +0 +- +- +\S`, out)
	var shown map[string]any
	require.NoError(t, json.Unmarshal([]byte(s.ok("plugins", "show", "demo")), &shown))
	require.Equal(t, "ready", shown["status"])
	require.Contains(t, shown["task_types"], "demo.sleep")
	r := s.ctl("plugins", "show", "demmo")
	require.Equal(t, exitFailed, r.code)
	require.Equal(t, "leptirctl: there is no plugin \"demmo\" in DIR/plugins; did you mean demo?\n", r.stderr)

	r = s.ctl("plugins", "verify")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "1 of 2 plugins would not be served as it should be")
	s.ok("plugins", "verify", "demo")

	r = s.ctl("plugins", "lock")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, `plugin "script" is not fit to be pinned`)
	require.NoFileExists(t, filepath.Join(s.dir, config.LockFileName))
	require.Regexp(t, "^[0-9a-f]{64}  demo\n$", s.ok("plugins", "lock", "demo"))
	lock, err := config.LoadLock(filepath.Join(s.dir, config.LockFileName))
	require.NoError(t, err)
	require.Len(t, lock.Pins["demo"], 1)
	require.Regexp(t, `(?m)^demo +ready +\S+ +10 +[0-9a-f]{12} +pinned`, s.ok("plugins", "list"))

	// Another binary of the same name: refused where it is not pinned, unless overridden.
	require.NoError(t, os.Remove(filepath.Join(s.dir, "plugins", "script")))
	s.plugin("examples/hello")
	require.NoError(t, os.Rename(filepath.Join(s.dir, "plugins", "hello"), filepath.Join(s.dir, "plugins", "other")))
	require.Regexp(t, `(?m)^other +ready .* dev_override`, s.ok("plugins", "verify"))
	old := lock.Pins["demo"][0]
	lock.Pins["demo"][0] = lock.Pins["demo"][0][1:] + "0"
	require.NoError(t, lock.Write())
	r = s.ctl("plugins", "verify", "demo")
	require.Equal(t, exitFailed, r.code)
	require.Regexp(t, `(?m)^demo +refused .* refused +its sha256 is `, r.stdout)
	s.ok("plugins", "lock", "demo", "-add")
	lock, err = config.LoadLock(lock.Path)
	require.NoError(t, err)
	require.Len(t, lock.Pins["demo"], 2)
	require.Equal(t, old, lock.Pins["demo"][0])
	s.ok("plugins", "lock")
	lock, err = config.LoadLock(lock.Path)
	require.NoError(t, err)
	require.Len(t, lock.Pins["demo"], 1, "without names it is written anew")
	require.Len(t, lock.Pins["other"], 1)

	require.NoError(t, os.WriteFile(lock.Path, []byte("plugin {}\n"), 0o600))
	r = s.ctl("plugins", "list")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "a lock file has only blocks like plugin")
}
