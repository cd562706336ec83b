package service

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// unit returns the systemd unit.
func (s Service) unit() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(mark)
	line("# What is to be different goes into a drop-in, which stays: systemctl edit %s", Name)
	line("[Unit]")
	line("Description=leptir, background task processor")
	line("Documentation=https://github.com/backplane/leptir")
	if !s.User {
		line("Wants=network-online.target")
		line("After=network-online.target")
	}
	line("")
	line("[Service]")
	line("Type=notify")
	line("NotifyAccess=main")
	line("ExecStart=%s -config %s", unitWord(s.Host), execWord(s.Config))
	line("# It waits for the host's answer: a configuration that is not valid fails the reload.")
	line("ExecReload=%s reload -config %s", unitWord(s.Control), execWord(s.Config))
	line("# The host gives a sign of life for as long as it hands out tasks.")
	line("WatchdogSec=%d", seconds(watchdogTime))
	line("Restart=on-failure")
	line("RestartSec=2")
	line("TimeoutStartSec=%d", seconds(startTime))
	line("# The host is asked to stop and waits for its tasks; what is left then is killed. It asks")
	line("# for more time if its shutdown_timeout has become longer since.")
	line("KillMode=mixed")
	line("KillSignal=SIGTERM")
	line("TimeoutStopSec=%d", seconds(s.ShutdownTimeout+tidyTime))
	line("# The host makes cgroups for its tasks, and a task that takes too much memory ends alone.")
	line("Delegate=yes")
	line("OOMPolicy=continue")
	if !s.User {
		line("User=%s", s.RunAs)
	}
	line("")
	line("# Tasks run within this, too. Not here, because tasks may need them: PrivateTmp, ProtectHome,")
	line("# PrivateDevices, MemoryDenyWriteExecute, SystemCallFilter. ProtectControlGroups and")
	line("# RestrictNamespaces would keep the host from limiting its tasks.")
	line("NoNewPrivileges=yes")
	line("LockPersonality=yes")
	line("RestrictRealtime=yes")
	line("RestrictSUIDSGID=yes")
	if !s.User {
		line("ProtectSystem=full")
		for _, dir := range s.writable() {
			line("ReadWritePaths=%s", unitWord("-"+dir))
		}
		line("ProtectClock=yes")
		line("ProtectHostname=yes")
		line("ProtectKernelLogs=yes")
		line("ProtectKernelModules=yes")
		line("ProtectKernelTunables=yes")
	}
	line("")
	line("[Install]")
	if s.User {
		line("WantedBy=default.target")
	} else {
		line("WantedBy=multi-user.target")
	}
	return b.String()
}

// writable returns the folders that the host writes to, each once.
func (s Service) writable() []string {
	dirs := slices.Clone(s.Writable)
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// seconds returns a time in whole seconds, no shorter than it is.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// execWord writes a text as an argument of a command of a unit file, where a dollar begins
// a variable; in the path of the program it does not.
func execWord(s string) string { return unitWord(strings.ReplaceAll(s, "$", "$$")) }

// unitWord writes a text as one word of a unit file.
func unitWord(s string) string {
	s = strings.NewReplacer("%", "%%", `\`, `\\`, `"`, `\"`).Replace(s)
	if strings.ContainsAny(s, " \t'\"\\;#") || s == "" {
		return `"` + s + `"`
	}
	return s
}
