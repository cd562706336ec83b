package ctl

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/pidfile"
)

// What the commands do with a host that runs is tested with package daemon, by the programs.
func TestNoHostRuns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := filepath.Join(dir, "leptir.hcl")
	require.NoError(t, os.WriteFile(config, nil, 0o600))
	pid := filepath.Join(dir, "var", "leptir", "leptir-host.pid")
	for _, command := range []string{"stop", "reload", "running"} {
		r := run(t.Context(), "", command, "-config", config)
		require.Equal(t, 1, r.code)
		require.Equal(t, "leptirctl: no host runs here: there is no pid file "+pid+"\n", r.stderr)
	}

	cmd := exec.Command("sleep", "100")
	require.NoError(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	self, err := pidfile.Self()
	require.NoError(t, err)
	self.PID, self.Start = cmd.Process.Pid, 1 // another process has the pid by now
	require.NoError(t, os.MkdirAll(filepath.Dir(pid), 0o700))
	for text, want := range map[string]string{
		self.String(): "has ended",
		"1\n":         "is not a pid file of leptir-host",
		"":            "is not a pid file of leptir-host",
	} {
		require.NoError(t, os.WriteFile(pid, []byte(text), 0o600))
		for _, args := range [][]string{{"stop"}, {"stop", "-now"}, {"reload"}, {"running"}} {
			r := run(t.Context(), "", append(args, "-pid", pid)...)
			require.Equal(t, 1, r.code)
			require.Contains(t, r.stderr, want)
		}
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt), "nobody has ended it")

	r := run(t.Context(), "", "stop", "-timeout", "soon")
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, "-timeout must be a number of seconds or a text like 1m30s")
}

func TestInstallDryRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := filepath.Join(dir, "leptir.hcl")
	require.NoError(t, os.WriteFile(config, []byte(`
broker "sqlite" "default" {
  path = "queue/tasks.db"
}
meta_storage "sqlite" "records" {
  path = "records/records.db"
}
logger "file" "main" {
  path = "/var/log/leptir/leptir.log"
}
host {
  state_dir        = "state"
  shutdown_timeout = 5
}
`), 0o600))
	host := filepath.Join(dir, "leptir-host")
	require.NoError(t, os.WriteFile(host, nil, 0o700))
	args := []string{"install", "-dry-run", "-config", config, "-host", host, "-run-as", "somebody"}

	r := run(t.Context(), "", append(args, "-init", "systemd")...)
	require.Zero(t, r.code, r.stderr)
	for _, want := range []string{
		"make the folder " + filepath.Join(dir, "state") + " for the user somebody\n",
		"write /etc/systemd/system/leptir.service\n",
		"    ExecStart=" + host + " -config " + config + "\n",
		"    User=somebody\n",
		"    TimeoutStopSec=35\n",
		"    ReadWritePaths=-/var/log/leptir\n",
		"    ReadWritePaths=-" + filepath.Join(dir, "queue") + "\n",
		"    ReadWritePaths=-" + filepath.Join(dir, "records") + "\n",
		"    ReadWritePaths=-" + filepath.Join(dir, "state") + "\n",
		"run systemctl enable leptir.service\n",
	} {
		require.Contains(t, r.stdout, want)
	}
	require.NoDirExists(t, filepath.Join(dir, "state"))

	r = run(t.Context(), "", append(args, "-user")...)
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stdout, "systemd/user/leptir.service")
	require.Contains(t, r.stdout, "run systemctl --user enable leptir.service\nstart it with: systemctl --user start leptir\n")
	require.NotContains(t, r.stdout, "User=")

	r = run(t.Context(), "", append(args, "-init", "sysv")...)
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stdout, "write /etc/init.d/leptir\n    #!/bin/sh\n")
	require.Contains(t, r.stdout, "    RUN_AS='somebody'\n")

	for want, more := range map[string][]string{
		"-init must be systemd or sysv, not":   {"-init", "upstart"},
		"-user is for systemd only":            {"-init", "sysv", "-user"},
		`"a b" cannot be the name of a user`:   {"-init", "systemd", "-run-as", "a b"},
		"no such file or directory":            {"-init", "systemd", "-host", filepath.Join(dir, "nothing")},
		"configuration file: stat /nowhere.h":  {"-init", "systemd", "-config", "/nowhere.hcl"},
		"-run-as must not be empty":            {"-init", "systemd", "-run-as", ""},
		"unexpected argument \"leptir.hcl\"":   {"leptir.hcl"},
		"there is no flag -inti; did you mean": {"-inti", "systemd"},
	} {
		r := run(t.Context(), "", append(args, more...)...)
		require.NotZero(t, r.code, want)
		require.Contains(t, strings.TrimSpace(r.stderr), want)
	}
	r = run(t.Context(), "", "uninstall", "-dry-run", "-init", "sysv", "-config", config)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "leptir is not installed: there is no /etc/init.d/leptir")
}
