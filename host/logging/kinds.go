package logging

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/backplane/leptir/internal/settings"
)

// Standard returns the registry of the kinds that every host has: stdout, stderr, file,
// syslog, journal.
func Standard() *Registry {
	return NewRegistry(
		Kind{
			Name: "stdout",
			Doc:  "Log lines on the standard output. A host in the background has none.",
			New:  func() Settings { return &StdoutSettings{Lines: defaultLines()} },
		},
		Kind{
			Name: "stderr",
			Doc:  "Log lines on the standard error output. A host in the background has none.",
			New:  func() Settings { return &StderrSettings{Lines: defaultLines()} },
		},
		Kind{
			Name: "file",
			Doc:  "Log lines at the end of a file. It is rotated by its size, and reopened when the host is told to reload, for those who rotate it by other means.",
			New: func() Settings {
				return &FileSettings{MaxSize: defaultMaxSize, Keep: defaultKeep, Lines: defaultLines()}
			},
		},
		Kind{
			Name: "syslog",
			Doc:  "Log lines for the machine's syslog, or for one in the network (RFC 5424).",
			New: func() Settings {
				return &SyslogSettings{Address: defaultSyslogAddress, Facility: "daemon", Tag: defaultTag, Lines: defaultLines()}
			},
		},
		Kind{
			Name: "journal",
			Doc:  "Log lines for the systemd journal, with the attributes as fields: LEPTIR_TASK, LEPTIR_TYPE, LEPTIR_ATTEMPT, LEPTIR_WORKER and so on.",
			New:  func() Settings { return &JournalSettings{Tag: defaultTag, Lines: defaultLines()} },
		},
	)
}

// defaultTag is what lines are marked with where many programs log to one place.
const defaultTag = "leptir-host"

// StdoutSettings configures a sink on the standard output.
type StdoutSettings struct{ Lines }

// Open returns the sink; its Close leaves the standard output open.
func (s *StdoutSettings) Open(context.Context) (Sink, error) {
	return s.console(os.Stdout, "standard output")
}

// Foreground says that a program in the background has no standard output.
func (s *StdoutSettings) Foreground() {}

// StderrSettings configures a sink on the standard error output.
type StderrSettings struct{ Lines }

// Open returns the sink; its Close leaves the standard error output open.
func (s *StderrSettings) Open(context.Context) (Sink, error) {
	return s.console(os.Stderr, "standard error output")
}

// Foreground says that a program in the background has no standard error output.
func (s *StderrSettings) Foreground() {}

// console returns a sink on an output that it does not own.
func (l Lines) console(file *os.File, name string) (Sink, error) {
	h, err := l.handler()
	if err != nil {
		return nil, err
	}
	return newQueued(h, &console{file: file}, name), nil
}

const (
	defaultMaxSize = 100 << 20
	defaultKeep    = 5
	// leastMaxSize keeps a mistaken unit from making a file of every line.
	leastMaxSize = 4 << 10
)

// FileSettings configures a sink on a file.
type FileSettings struct {
	Path    settings.Path  `config:"path,required" doc:"The file. It and its folder are made if need be, for the host's user only."`
	MaxSize settings.Bytes `config:"max_size" doc:"The size at which the file is rotated: it becomes FILE.1, that before it FILE.2, and so on. 0 is never."`
	Keep    int            `config:"keep" min:"0" max:"1000" doc:"How many rotated files are kept."`
	Lines
}

// Writes implements settings.FileWriter.
func (s *FileSettings) Writes() []settings.Path { return []settings.Path{s.Path} }

// Validate reports a size at which nothing but rotating would be done.
func (s *FileSettings) Validate() error {
	if s.MaxSize != 0 && s.MaxSize < leastMaxSize {
		return fmt.Errorf("max_size is %d bytes; the least is %d, or 0 for no rotation", s.MaxSize, leastMaxSize)
	}
	return nil
}

// Open opens the file for appending. The Sink is a Reopener.
func (s *FileSettings) Open(context.Context) (Sink, error) {
	if s.Path == "" {
		return nil, errors.New("log file: no path is set")
	}
	h, err := s.handler()
	if err != nil {
		return nil, err
	}
	f := &fileSink{handler: h, path: string(s.Path), maxSize: int64(s.MaxSize), keep: s.Keep}
	h.out = f
	if err := f.Reopen(); err != nil {
		return nil, err
	}
	return f, nil
}
