package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/service"
	"github.com/backplane/leptir/internal/settings"
)

// serviceFlags are the flags of install and uninstall.
type serviceFlags struct {
	init   string
	ofUser bool
	dryRun bool
	runAs  string
	host   string
}

// serviceCommands returns the commands that make the host a service of this machine.
func (p *program) serviceCommands() []*cobra.Command {
	return []*cobra.Command{p.installCommand(), p.uninstallCommand()}
}

func (p *program) installCommand() *cobra.Command {
	var f serviceFlags
	cmd := &cobra.Command{
		Use:   "install [flags]",
		Short: "Make the host a service of this machine.",
		Long: "Make the host a service of this machine, that starts with it: a systemd unit with a watchdog and a sandbox, or an init.d script. " +
			"The configuration must be valid: the folders that it names are those that the service may write to. Run it again when these have changed.",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.install(cmd.Context(), &f) },
	}
	serviceFlagsOf(cmd, &f)
	cmd.Flags().Var(newValue(&f.runAs, "USER", nonEmpty), "run-as", "the user that the service runs as (default: leptir)")
	cmd.Flags().Var(newValue(&f.host, "FILE", nonEmpty), "host", "the program leptir-host; by default that beside leptirctl, then that in $PATH")
	return cmd
}

func (p *program) uninstallCommand() *cobra.Command {
	var f serviceFlags
	cmd := &cobra.Command{
		Use:   "uninstall [flags]",
		Short: "Stop the host's service, and remove it.",
		Long:  "Stop the host's service, and remove it. The configuration, tasks, records and logs stay.",
		Args:  arguments(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return p.uninstall(cmd.Context(), &f) },
	}
	serviceFlagsOf(cmd, &f)
	return cmd
}

func serviceFlagsOf(cmd *cobra.Command, f *serviceFlags) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Var(newValue(&f.init, "systemd|sysv", initName), "init", "what starts services on this machine; by default what is found there")
	flags.BoolVar(&f.ofUser, "user", false, "a service of your own systemd, not of the machine's; it needs no root")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print what would be done, and do nothing")
}

func initName(s string) (string, error) {
	if s != string(service.Systemd) && s != string(service.SysV) {
		return "", fmt.Errorf("must be systemd or sysv, not %q", shorten(s))
	}
	return s, nil
}

// initOf returns the init program that is meant.
func (f *serviceFlags) initOf() (service.Init, error) {
	if f.ofUser && f.init == string(service.SysV) {
		return "", usagef("-user is for systemd only")
	}
	if f.ofUser {
		return service.Systemd, nil
	}
	if f.init != "" {
		return service.Init(f.init), nil
	}
	return service.Detect()
}

func (p *program) install(ctx context.Context, f *serviceFlags) error {
	init, err := f.initOf()
	if err != nil {
		return err
	}
	cfg, _, err := p.load()
	if err != nil {
		return err
	}
	s := service.Service{Init: init, User: f.ofUser, Config: cfg.Path, ShutdownTimeout: cfg.Host.ShutdownTimeout, Writable: writable(cfg)}
	if !f.ofUser {
		s.RunAs = "leptir"
		if f.runAs != "" {
			s.RunAs = f.runAs
		}
	}
	if s.Control, err = os.Executable(); err != nil {
		return err
	}
	if s.Host, err = hostProgram(f.host, s.Control); err != nil {
		return err
	}
	return service.Installer{Out: p.out, DryRun: f.dryRun}.Install(ctx, s)
}

func (p *program) uninstall(ctx context.Context, f *serviceFlags) error {
	init, err := f.initOf()
	if err != nil {
		return err
	}
	s := service.Service{Init: init, User: f.ofUser}
	if cfg, _, err := p.load(); err == nil { // else it takes as long as it takes by default
		s.ShutdownTimeout = cfg.Host.ShutdownTimeout
	}
	return service.Installer{Out: p.out, DryRun: f.dryRun}.Uninstall(ctx, s)
}

// writable returns the folders that a host of the configuration writes to.
func writable(cfg *config.Config) []string {
	dirs := []string{string(cfg.Host.StateDir)}
	add := func(s any) {
		if w, ok := s.(settings.FileWriter); ok {
			for _, path := range w.Writes() {
				dirs = append(dirs, filepath.Dir(string(path)))
			}
		}
	}
	for _, b := range cfg.Brokers {
		add(b.Settings)
	}
	for _, m := range cfg.MetaStorages {
		add(m.Settings)
	}
	for _, l := range cfg.Loggers {
		add(l.Settings)
	}
	return dirs
}

// hostProgram returns the path of leptir-host.
func hostProgram(named, control string) (string, error) {
	if named != "" {
		path, err := filepath.Abs(named)
		if err == nil {
			_, err = exec.LookPath(path)
		}
		return path, err
	}
	beside := filepath.Join(filepath.Dir(control), "leptir-host")
	if _, err := exec.LookPath(beside); err == nil {
		return beside, nil
	}
	path, err := exec.LookPath("leptir-host")
	if err != nil {
		return "", errors.New("leptir-host is neither beside leptirctl nor in $PATH; name it with -host FILE")
	}
	return filepath.Abs(path)
}
