package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// commandTimeout bounds one command of the init program, beyond stopping the service.
const commandTimeout = time.Minute

// Installer installs and removes services.
type Installer struct {
	// Out is told of every step.
	Out io.Writer
	// DryRun says that the steps are only told of.
	DryRun bool
	// Root is a folder that stands for the top of the file system, for services of another
	// root file system and for tests; "" is this one.
	Root string
}

// Install writes the file of the service and has the init program take it up. It does not
// start the service; how that is done is said at the end. A file that leptirctl has not
// written is left alone.
func (i Installer) Install(ctx context.Context, s Service) error {
	if err := s.Validate(); err != nil {
		return err
	}
	path, err := i.path(s)
	if err != nil {
		return err
	}
	if err := refuseForeign(path); err != nil {
		return err
	}
	if !s.User {
		if err := i.makeFolders(s); err != nil {
			return err
		}
	}
	text, mode := s.Text(), fs.FileMode(0o644)
	if s.Init == SysV {
		mode = 0o755
	}
	fmt.Fprintf(i.Out, "write %s\n", path)
	if i.DryRun {
		fmt.Fprint(i.Out, indented(text))
	} else if err := write(path, text, mode); err != nil {
		return err
	}
	for _, command := range s.enable() {
		if err := i.run(ctx, command, commandTimeout); err != nil {
			return fmt.Errorf("%s is written, but %w", path, err)
		}
	}
	fmt.Fprintf(i.Out, "start it with: %s\n", s.startCommand())
	return nil
}

// Uninstall stops the service and removes its file.
func (i Installer) Uninstall(ctx context.Context, s Service) error {
	path, err := i.path(s)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("leptir is not installed: there is no %s", path)
	}
	if err := refuseForeign(path); err != nil {
		return err
	}
	before, after := s.disable(path)
	for _, command := range before {
		// Stopping takes as long as running tasks do.
		if err := i.run(ctx, command, s.ShutdownTimeout+tidyTime+commandTimeout); err != nil {
			return fmt.Errorf("%s is left in place: %w", path, err)
		}
	}
	fmt.Fprintf(i.Out, "remove %s\n", path)
	if !i.DryRun {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for _, command := range after {
		if err := i.run(ctx, command, commandTimeout); err != nil {
			return fmt.Errorf("%s is removed, but %w", path, err)
		}
	}
	return nil
}

func (i Installer) path(s Service) (string, error) {
	path, err := s.Path()
	return filepath.Join(i.Root, path), err
}

// refuseForeign reports a file that somebody else has written.
func refuseForeign(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), mark) {
		return fmt.Errorf("%s is there and was not written by leptirctl; remove it first", path)
	}
	return nil
}

// makeFolders makes the folders that the host writes to, for its user alone.
func (i Installer) makeFolders(s Service) error {
	var uid, gid int
	by, err := user.Lookup(s.RunAs)
	if err == nil {
		uid, err = strconv.Atoi(by.Uid)
	}
	if err == nil {
		gid, err = strconv.Atoi(by.Gid)
	}
	if err != nil && !i.DryRun {
		return fmt.Errorf("there is no user %q; make one, for example with: useradd --system --home-dir /var/lib/leptir --shell /usr/sbin/nologin %s; or name another with -run-as", s.RunAs, s.RunAs)
	}
	for _, dir := range s.writable() {
		dir = filepath.Join(i.Root, dir)
		if _, err := os.Stat(dir); err == nil {
			continue
		}
		fmt.Fprintf(i.Out, "make the folder %s for the user %s\n", dir, s.RunAs)
		if i.DryRun {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// write puts a file in place, whole or not at all.
func write(path, text string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Chmod(mode), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name()) // what is left of it is nobody's
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// enable returns the commands that have the init program take the service up.
func (s Service) enable() [][]string {
	switch {
	case s.Init == SysV:
		return registration("update-rc.d", []string{Name, "defaults"}, "chkconfig", []string{"--add", Name})
	case s.User:
		return [][]string{{"systemctl", "--user", "daemon-reload"}, {"systemctl", "--user", "enable", Name + ".service"}}
	}
	return [][]string{{"systemctl", "daemon-reload"}, {"systemctl", "enable", Name + ".service"}}
}

// disable returns the commands that come before the file is removed, and after.
func (s Service) disable(path string) (before, after [][]string) {
	switch {
	case s.Init == SysV:
		return [][]string{{path, "stop"}}, registration("update-rc.d", []string{Name, "remove"}, "chkconfig", []string{"--del", Name})
	case s.User:
		return [][]string{{"systemctl", "--user", "disable", "--now", Name + ".service"}}, [][]string{{"systemctl", "--user", "daemon-reload"}}
	}
	return [][]string{{"systemctl", "disable", "--now", Name + ".service"}}, [][]string{{"systemctl", "daemon-reload"}}
}

// registration returns the command of the first program that this machine has.
func registration(debian string, debianArgs []string, redhat string, redhatArgs []string) [][]string {
	if _, err := exec.LookPath(debian); err == nil {
		return [][]string{append([]string{debian}, debianArgs...)}
	}
	if _, err := exec.LookPath(redhat); err == nil {
		return [][]string{append([]string{redhat}, redhatArgs...)}
	}
	return nil // links in /etc/rc?.d are the administrator's then
}

func (s Service) startCommand() string {
	switch {
	case s.Init == SysV:
		return filepath.Join(initFolder, Name) + " start"
	case s.User:
		return "systemctl --user start " + Name
	}
	return "systemctl start " + Name
}

func (i Installer) run(ctx context.Context, command []string, limit time.Duration) error {
	fmt.Fprintf(i.Out, "run %s\n", strings.Join(command, " "))
	if i.DryRun {
		return nil
	}
	if i.Root != "" && !filepath.IsAbs(command[0]) {
		if command[0] != "systemctl" || command[len(command)-1] == "daemon-reload" {
			return nil // they know this root alone
		}
		command = append([]string{"systemctl", "--root=" + i.Root}, command[1:]...)
		command = slices.DeleteFunc(command, func(arg string) bool { return arg == "--now" }) // nothing runs in it
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s failed: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// indented sets a file off from what is said around it.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
	}
	return b.String()
}
