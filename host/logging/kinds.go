package logging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/backplane/leptir/internal/settings"
)

// Standard returns the registry of the kinds that every host has: stdout, stderr, file.
func Standard() *Registry {
	return NewRegistry(
		Kind{
			Name: "stdout",
			Doc:  "Log lines on the standard output.",
			New:  func() Settings { return &StdoutSettings{Lines: defaultLines()} },
		},
		Kind{
			Name: "stderr",
			Doc:  "Log lines on the standard error output.",
			New:  func() Settings { return &StderrSettings{Lines: defaultLines()} },
		},
		Kind{
			Name: "file",
			Doc:  "Log lines at the end of a file, which is reopened when the host is told to reload.",
			New:  func() Settings { return &FileSettings{Lines: defaultLines()} },
		},
	)
}

// Lines is what the settings of all kinds have in common: which lines are written, and
// how.
type Lines struct {
	Level  string `config:"level" oneof:"debug|info|warning|error" doc:"The least important level that is written."`
	Format string `config:"format" oneof:"text|json" doc:"The form of a line: \"text\" for people, \"json\" for programs."`
}

func defaultLines() Lines { return Lines{Level: "info", Format: "text"} }

// level returns the level in slog's terms.
func (l Lines) level() (slog.Level, error) {
	switch l.Level {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warning":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q is not one of debug, info, warning, error", l.Level)
}

// handler returns the handler that writes such lines to out.
func (l Lines) handler(out *output) (slog.Handler, error) {
	level, err := l.level()
	if err != nil {
		return nil, err
	}
	switch l.Format {
	case "text":
		return newTextHandler(out, level), nil
	case "json":
		return slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}), nil
	}
	return nil, fmt.Errorf("log format %q is not one of text, json", l.Format)
}

// StdoutSettings configures a sink on the standard output.
type StdoutSettings struct{ Lines }

// Open returns the sink; its Close leaves the standard output open.
func (s *StdoutSettings) Open(context.Context) (Sink, error) { return s.sink(os.Stdout) }

// StderrSettings configures a sink on the standard error output.
type StderrSettings struct{ Lines }

// Open returns the sink; its Close leaves the standard error output open.
func (s *StderrSettings) Open(context.Context) (Sink, error) { return s.sink(os.Stderr) }

// sink returns a sink on a writer that it does not own.
func (l Lines) sink(w io.Writer) (Sink, error) {
	out := &output{w: w}
	h, err := l.handler(out)
	if err != nil {
		return nil, err
	}
	return &sink{Handler: h, output: out}, nil
}

// FileSettings configures a sink on a file.
type FileSettings struct {
	Path settings.Path `config:"path,required" doc:"The file. It and its folder are made if need be, for the host's user only."`
	Lines
}

// Open opens the file for appending. The Sink is a Reopener.
func (s *FileSettings) Open(context.Context) (Sink, error) {
	if s.Path == "" {
		return nil, errors.New("log file: no path is set")
	}
	out := &output{}
	h, err := s.handler(out)
	if err != nil {
		return nil, err
	}
	f := &fileSink{sink: sink{Handler: h, output: out}, path: string(s.Path)}
	if err := f.Reopen(); err != nil {
		return nil, err
	}
	return f, nil
}
