package service_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/service"
	"github.com/backplane/leptir/internal/testbin"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

func example(init service.Init) service.Service {
	return service.Service{Init: init, RunAs: "leptir", Host: "/usr/local/bin/leptir-host", Control: "/usr/local/bin/leptirctl",
		Config: "/etc/leptir/leptir.hcl", ShutdownTimeout: 90 * time.Second,
		Writable: []string{"/var/log/leptir", "/var/lib/leptir", "/var/lib/leptir"}}
}

// hostile has in its paths what means something to systemd or a shell.
func hostile(init service.Init) service.Service {
	s := example(init)
	s.Host, s.Config = `/opt/my $tools; %h/leptir-host`, `/srv/it's "x"/a; b\c/leptir.hcl`
	s.Writable = []string{`/srv/$it %n/"var"`}
	return s
}

func TestGolden(t *testing.T) {
	t.Parallel()
	ofUser := example(service.Systemd)
	ofUser.User, ofUser.RunAs = true, ""
	for name, s := range map[string]service.Service{
		"systemd.service": example(service.Systemd), "user.service": ofUser, "sysv.sh": example(service.SysV),
		"hostile.service": hostile(service.Systemd), "hostile.sh": hostile(service.SysV),
	} {
		require.NoError(t, s.Validate(), name)
		path := filepath.Join("testdata", name)
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(s.Text()), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), s.Text(), "%s is out of date: go test ./host/service -update", name)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*service.Service){
		`init "upstart" is neither systemd nor sysv`: func(s *service.Service) { s.Init = "upstart" },
		"only systemd has services of users":         func(s *service.Service) { s.Init, s.User = service.SysV, true },
		"no user is named that the service runs as":  func(s *service.Service) { s.RunAs = "" },
		`"a b" cannot be the name of a user`:         func(s *service.Service) { s.RunAs = "a b" },
		`"a;reboot" cannot be the name of a user`:    func(s *service.Service) { s.RunAs = "a;reboot" },
		`the path "leptir-host" cannot stand in a service: it must be absolute and without control characters`: func(s *service.Service) {
			s.Host = "leptir-host"
		},
		`the path "/x\nExecStartPre=/bin/reboot" cannot stand in a service: it must be absolute and without control characters`: func(s *service.Service) {
			s.Config = "/x\nExecStartPre=/bin/reboot"
		},
		`systemd starts no program with quotes or backslashes in its path: /it's`: func(s *service.Service) { s.Control = "/it's" },
	} {
		s := example(service.Systemd)
		change(&s)
		require.EqualError(t, s.Validate(), want)
	}
}

// real returns a service of the programs as they are built, in a folder of the test.
func real(t *testing.T, init service.Init) (s service.Service, dir string) {
	t.Helper()
	dir = t.TempDir()
	me, err := user.Current()
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "plugins"), 0o700))
	config := filepath.Join(dir, "it's leptir.hcl")
	require.NoError(t, os.WriteFile(config, []byte("logger \"file\" \"main\" {\n  path = \"log/leptir.log\"\n}\n"), 0o600))
	return service.Service{Init: init, RunAs: me.Username, Host: testbin.Build(t, "cmd/leptir-host"), Control: testbin.Build(t, "cmd/leptirctl"),
		Config: config, ShutdownTimeout: 30 * time.Second, Writable: []string{filepath.Join(dir, "var")}}, dir
}

// TestVerifyUnit has systemd check the units.
func TestVerifyUnit(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed on this machine")
	}
	s, dir := real(t, service.Systemd)
	for _, ofUser := range []bool{false, true} {
		s.User = ofUser
		path := filepath.Join(dir, "leptir.service")
		require.NoError(t, os.WriteFile(path, []byte(s.Text()), 0o600))
		args := []string{"verify", "--man=no", path}
		if ofUser {
			args = append([]string{"--user"}, args...)
		}
		cmd := exec.Command("systemd-analyze", args...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		for line := range strings.Lines(string(out)) { // what is wrong with units of this machine's own does not count
			require.NotContains(t, line, "leptir", "%s", out)
		}
	}
	// Whatever is in the paths, the programs are found.
	odd := filepath.Join(dir, `my $tools; %h`)
	require.NoError(t, os.Mkdir(odd, 0o700))
	strange := s
	strange.Host, strange.Control, strange.Config = filepath.Join(odd, "leptir-host"), filepath.Join(odd, "leptirctl"), filepath.Join(odd, "leptir.hcl")
	strange.Writable = []string{odd}
	require.NoError(t, os.Symlink(s.Host, strange.Host))
	require.NoError(t, os.Symlink(s.Control, strange.Control))
	path := filepath.Join(dir, "leptir.service")
	require.NoError(t, os.WriteFile(path, []byte(strange.Text()), 0o600))
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "leptir")

	// It does find what is wrong.
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(s.Text(), "KillMode=mixed", "KillMode=mild", 1)), 0o600))
	out, _ = exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	require.Contains(t, string(out), "Failed to parse kill mode")
}

func TestInstallSystemd(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemctl"); err != nil {
		t.Skip("systemctl is not installed on this machine")
	}
	s, root := real(t, service.Systemd)
	var out bytes.Buffer
	i := service.Installer{Out: &out, Root: root, DryRun: true}
	unit := filepath.Join(root, "etc/systemd/system/leptir.service")
	link := filepath.Join(root, "etc/systemd/system/multi-user.target.wants/leptir.service")

	require.NoError(t, i.Install(t.Context(), s))
	require.Contains(t, out.String(), "write "+unit+"\n    # Written by leptirctl install")
	require.Contains(t, out.String(), "run systemctl daemon-reload\nrun systemctl enable leptir.service\nstart it with: systemctl start leptir\n")
	require.NoFileExists(t, unit)

	i.DryRun = false
	out.Reset()
	require.NoError(t, i.Install(t.Context(), s))
	require.NotContains(t, out.String(), "ExecStart")
	text, err := os.ReadFile(unit)
	require.NoError(t, err)
	require.Equal(t, s.Text(), string(text))
	_, err = os.Lstat(link)
	require.NoError(t, err, "systemctl has enabled it")
	info, err := os.Stat(filepath.Join(root, s.Writable[0]))
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o700, info.Mode())

	s.ShutdownTimeout = time.Hour // once more replaces it
	require.NoError(t, i.Install(t.Context(), s))
	text, err = os.ReadFile(unit)
	require.NoError(t, err)
	require.Contains(t, string(text), "TimeoutStopSec=3630")

	require.NoError(t, i.Uninstall(t.Context(), s))
	require.NoFileExists(t, unit)
	_, err = os.Lstat(link)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.EqualError(t, i.Uninstall(t.Context(), s), "leptir is not installed: there is no "+unit)

	require.NoError(t, os.WriteFile(unit, []byte("[Service]\nExecStart=/bin/true\n"), 0o600))
	require.EqualError(t, i.Install(t.Context(), s), unit+" is there and was not written by leptirctl; remove it first")
	require.EqualError(t, i.Uninstall(t.Context(), s), unit+" is there and was not written by leptirctl; remove it first")
	require.FileExists(t, unit)
}

func TestNoSuchUser(t *testing.T) {
	t.Parallel()
	s, root := real(t, service.Systemd)
	s.RunAs = "nobody-has-this-name"
	i := service.Installer{Out: &bytes.Buffer{}, Root: root}
	require.ErrorContains(t, i.Install(t.Context(), s), `there is no user "nobody-has-this-name"; make one`)
	i.DryRun = true
	require.NoError(t, i.Install(t.Context(), s), "to look at it needs no user")
}

// TestInitScript checks the script with a shell, installs it, and starts and stops a host
// by it.
func TestInitScript(t *testing.T) {
	t.Parallel()
	s, root := real(t, service.SysV)
	i := service.Installer{Out: &bytes.Buffer{}, Root: root}
	require.NoError(t, i.Install(t.Context(), s))
	script := filepath.Join(root, "etc/init.d/leptir")
	out, err := exec.Command("sh", "-n", script).CombinedOutput()
	require.NoError(t, err, "%s", out)
	hostileScript := filepath.Join(root, "hostile")
	require.NoError(t, os.WriteFile(hostileScript, []byte(hostile(service.SysV).Text()), 0o600))
	out, err = exec.Command("sh", "-n", hostileScript).CombinedOutput()
	require.NoError(t, err, "%s", out)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	t.Cleanup(func() { _ = exec.Command(s.Control, "stop", "-now", "-config", s.Config).Run() }) // if a step has failed
	run := func(action string) (string, int) {
		cmd := exec.CommandContext(ctx, script, action)
		cmd.WaitDelay = time.Second
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	for _, step := range []struct {
		action, want string
		code         int
	}{
		{"status", "", 3},
		{"stop", "leptir does not run", 0},
		{"start", "leptir-host runs in the background, as process ", 0},
		{"start", "leptir runs already", 0},
		{"status", "runs", 0},
		{"reload", "nothing has changed", 0},
		{"restart", "leptir-host runs in the background, as process ", 0},
		{"try-restart", "leptir-host runs in the background, as process ", 0},
		{"stop", "stopped", 0},
		{"try-restart", "", 0},
		{"status", "", 3},
		{"what", "usage: ", 2},
		{"start", "runs in the background", 0},
	} {
		out, code := run(step.action)
		require.Equal(t, step.code, code, "%s: %s", step.action, out)
		require.Contains(t, out, step.want, step.action)
	}
	require.NoError(t, i.Uninstall(ctx, s), "which stops it")
	_, code := run("status")
	require.NotZero(t, code)
	require.NoFileExists(t, script)
	log, err := os.ReadFile(filepath.Join(root, "log/leptir.log"))
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(string(log), "leptir-host is running"), "%s", log)
	require.Equal(t, 4, strings.Count(string(log), " stopped\n"), "%s", log)
}

func Example() {
	s := service.Service{Init: service.Systemd, RunAs: "leptir", Host: "/usr/bin/leptir-host", Control: "/usr/bin/leptirctl",
		Config: "/etc/leptir/leptir.hcl", ShutdownTimeout: 30 * time.Second}
	for line := range strings.Lines(s.Text()) {
		if strings.HasPrefix(line, "Exec") {
			fmt.Print(line)
		}
	}
	// Output:
	// ExecStart=/usr/bin/leptir-host -config /etc/leptir/leptir.hcl
	// ExecReload=/usr/bin/leptirctl reload -config /etc/leptir/leptir.hcl
}
