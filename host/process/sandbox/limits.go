// Package sandbox confines one process: what it may use (memory, processor, processes,
// files, scratch space), as whom it runs, what it may reach, and that all it has started
// can be found and killed. It owns cgroups, namespaces, Landlock and the threads that
// plugin processes are born on, knows what this machine can enforce, and knows nothing of
// plugins, tasks or how a process is talked to.
package sandbox

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// Limits is what a process, with all that it starts, is held to. The zero value is no
// limit at all.
type Limits struct {
	// MemoryMax is the most memory in bytes, the page cache of what it reads and its
	// scratch folder included where a cgroup counts; 0 is none.
	MemoryMax int64
	// CPUMax is how many cores it may keep busy, fractions allowed; 0 is none. Unless Strict it is
	// held to that by a Throttle where it can be.
	CPUMax float64
	// PidsMax is the most processes and threads; 0 is none.
	PidsMax int
	// OpenFiles is the most file descriptors of each of its processes; 0 is the host's own.
	OpenFiles int
	// ScratchMax is the most bytes in its work folder; 0 is none.
	ScratchMax int64
	// RunAs is the user that it runs as, "name", "uid", "name:group" or "uid:gid"; "" is
	// the host's own.
	RunAs string
	// NoNewPrivs keeps setuid programs from giving it more rights.
	NoNewPrivs bool
	// ProtectHost keeps it from signalling, tracing and reading processes that it has not
	// started.
	ProtectHost bool
	// PathsRead and PathsWrite, where either names anything, are the only files and folders
	// that it may read and execute, and read and write, beside those every program needs
	// and its own folder.
	PathsRead, PathsWrite []string
	// NoNetwork gives it a network of its own that has no interface.
	NoNetwork bool
	// Strict refuses to start it where the kernel does not enforce all of this, CPUMax included.
	Strict bool
}

func (l *Limits) files() bool { return len(l.PathsRead)+len(l.PathsWrite) > 0 }

// Bytes writes an amount of memory for people: "256 MiB".
func Bytes(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

// Gap is a limit that this machine enforces only in part or not at all.
type Gap struct {
	// Setting is its name in the configuration.
	Setting string `json:"setting"`
	// Why says what is missing, and what is done instead.
	Why string `json:"why"`
}

// String returns the gap as one phrase.
func (g Gap) String() string { return fmt.Sprintf("%s: %s", g.Setting, g.Why) }
