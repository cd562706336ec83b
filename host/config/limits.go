package config

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/backplane/leptir/internal/settings"
)

// Limits is the limits block of a plugin, or that of the host block, which holds for plugins
// that do not say otherwise. Of all amounts, 0 is none.
type Limits struct {
	MemoryMax   settings.Bytes `config:"memory_max" doc:"The most memory of a process of the plugin with all that it starts; what exceeds it is killed. 0 is no limit, less than 16MiB is too little to start."`
	CPUMax      float64        `config:"cpu_max" min:"0" max:"4096" doc:"How many cores such a process may keep busy; fractions are allowed, 0 is no limit. What uses more is made to wait."`
	PidsMax     int            `config:"pids_max" min:"0" max:"4000000" doc:"The most processes and threads of it together; what exceeds it is killed. 0 is no limit, less than 32 is too few for a program in Go."`
	OpenFiles   int            `config:"open_files" min:"0" max:"1000000" doc:"The most open file descriptors of each of its processes; 0 is the host's own limit, less than 64 are too few."`
	OutputMax   settings.Bytes `config:"output_max" doc:"The most bytes that a process may print in its life; what it prints beyond is dropped, and it is replaced after its task. 0 is no limit; the rate is limited in any case."`
	ScratchMax  settings.Bytes `config:"scratch_max" doc:"The most bytes in its work folder. As root it is a file system of that size, in memory."`
	RunAs       string         `config:"run_as" doc:"The user to run it as: a name or a number, with a group after a colon if need be. Only root can; else the plugin is not started."`
	NoNewPrivs  bool           `config:"no_new_privs" doc:"Whether setuid programs that it starts stay without the rights of their owners."`
	ProtectHost bool           `config:"protect_host" doc:"Whether it is kept from signalling, tracing and reading the memory and environment of processes that it has not started."`
	PathsRead   []string       `config:"paths_read" doc:"If this or paths_write names any: the files and folders that it may read and execute, beside its own and what every program needs."`
	PathsWrite  []string       `config:"paths_write" doc:"If this or paths_read names any: the files and folders that it may read and write, beside its own."`
	Network     bool           `config:"network" doc:"Whether it has the network; without, it has not even a loopback interface."`
	Strict      bool           `config:"strict" doc:"Whether the host refuses to run where the kernel does not enforce all limits that are set; cpu_max is then left to the kernel, too, at a cost (isolation.md)."`
}

// The least that makes sense of what is limited at all.
const (
	leastMemory    = 16 << 20
	leastPids      = 32
	leastOpenFiles = 64
)

// defaultLimits returns the defaults of a limits block: what harms nobody who means well.
func defaultLimits() Limits {
	return Limits{PidsMax: 512, NoNewPrivs: true, ProtectHost: true, Network: true}
}

// IsDefaultLimit reports whether a limit, by the name of its setting, is what it is without
// anybody's having asked for it.
func IsDefaultLimit(l Limits, setting string) bool {
	d := defaultLimits()
	switch setting {
	case "pids_max":
		return l.PidsMax == d.PidsMax
	case "protect_host":
		return l.ProtectHost == d.ProtectHost
	}
	return false
}

// check reports limits that no process could live with.
func (l *Limits) check() (errs []error) {
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf("limits: "+format, args...)) }
	if l.MemoryMax > 0 && l.MemoryMax < leastMemory {
		add("memory_max must be at least 16MiB, or 0 for no limit")
	}
	if l.CPUMax > 0 && l.CPUMax < 0.01 {
		add("cpu_max must be at least 0.01, or 0 for no limit")
	}
	if l.PidsMax > 0 && l.PidsMax < leastPids {
		add("pids_max must be at least %d, or 0 for no limit", leastPids)
	}
	if l.OpenFiles > 0 && l.OpenFiles < leastOpenFiles {
		add("open_files must be at least %d, or 0 for the host's own limit", leastOpenFiles)
	}
	if l.ScratchMax > 0 && l.ScratchMax < 4096 {
		add("scratch_max must be at least 4KiB, or 0 for no limit")
	}
	if strings.ContainsFunc(l.RunAs, func(r rune) bool { return r <= ' ' }) || strings.HasPrefix(l.RunAs, ":") || strings.HasSuffix(l.RunAs, ":") {
		add("run_as must be like \"user\", \"1000\", \"user:group\" or \"1000:1000\", not %q", short(l.RunAs))
	}
	for _, list := range []struct {
		name  string
		paths []string
	}{{"paths_read", l.PathsRead}, {"paths_write", l.PathsWrite}} {
		for _, path := range list.paths {
			if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
				add("%s: %q must be an absolute path", list.name, short(path))
			}
		}
	}
	return errs
}
