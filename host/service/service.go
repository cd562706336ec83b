// Package service owns how leptir-host becomes a service of the machine: the systemd unit,
// the init.d script, and the steps that install and remove them. What the host does, and
// what its configuration means, it does not know.
package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

// Init is the program that starts services.
type Init string

// The programs that services can be installed for.
const (
	Systemd Init = "systemd"
	SysV    Init = "sysv"
)

// Name is the name of the service.
const Name = "leptir"

// mark stands in every file that is installed: one without it is somebody else's.
const mark = "# Written by leptirctl install; leptirctl uninstall removes it."

// Service says what is to be installed. All paths are absolute.
type Service struct {
	Init Init
	// User says that it is a service of the user's own systemd, not the machine's.
	User bool
	// RunAs is the user that a service of the machine runs as.
	RunAs string
	// Host and Control are the programs leptir-host and leptirctl.
	Host, Control string
	// Config is the configuration file.
	Config string
	// ShutdownTimeout is how long the host waits for running tasks when it is stopped.
	ShutdownTimeout time.Duration
	// Writable are the folders that the host writes to.
	Writable []string
}

// Detect returns the init program of this machine.
func Detect() (Init, error) {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return Systemd, nil
	}
	if _, err := os.Stat(initFolder); err == nil {
		return SysV, nil
	}
	return "", errors.New("neither systemd nor init.d is found on this machine; say with -init which one is meant")
}

const (
	initFolder = "/etc/init.d"
	// tidyTime is how long a host takes at the most, beyond waiting for running tasks, to
	// settle them and to close what it has opened.
	tidyTime = 30 * time.Second
	// startTime is how long a host may take to come up.
	startTime = 2 * time.Minute
	// watchdogTime is how long a host may be without a sign of life.
	watchdogTime = time.Minute
)

// Validate reports what cannot stand in a unit or a script.
func (s Service) Validate() error {
	if s.Init != Systemd && s.Init != SysV {
		return fmt.Errorf("init %q is neither systemd nor sysv", s.Init)
	}
	if s.User && s.Init != Systemd {
		return errors.New("only systemd has services of users")
	}
	if !s.User && s.RunAs == "" {
		return errors.New("no user is named that the service runs as")
	}
	for _, path := range append([]string{s.Host, s.Control, s.Config}, s.Writable...) {
		if !filepath.IsAbs(path) || strings.ContainsFunc(path, unicode.IsControl) {
			return fmt.Errorf("the path %q cannot stand in a service: it must be absolute and without control characters", path)
		}
	}
	for _, path := range []string{s.Host, s.Control} {
		if s.Init == Systemd && strings.ContainsAny(path, `"'\`) {
			return fmt.Errorf("systemd starts no program with quotes or backslashes in its path: %s", path)
		}
	}
	if strings.ContainsFunc(s.RunAs, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`'"\$%;:/`, r) }) {
		return fmt.Errorf("%q cannot be the name of a user", s.RunAs)
	}
	return nil
}

// Path returns where the file of the service lies.
func (s Service) Path() (string, error) {
	switch {
	case s.Init == SysV:
		return filepath.Join(initFolder, Name), nil
	case s.User:
		dir, err := os.UserConfigDir()
		if err != nil {
			return "", fmt.Errorf("the folder of your services: %w", err)
		}
		return filepath.Join(dir, "systemd", "user", Name+".service"), nil
	}
	return "/etc/systemd/system/" + Name + ".service", nil
}

// Text returns the contents of the file of the service. The service must be valid.
func (s Service) Text() string {
	if s.Init == SysV {
		return s.script()
	}
	return s.unit()
}
