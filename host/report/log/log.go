// Package log is the error reporter that writes reports to the host's own log.
package log

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/backplane/leptir/host/report"
)

// Kind returns the kind "log".
func Kind() report.Kind {
	return report.Kind{
		Name: "log",
		Doc:  "Reports as lines of the host's own log.",
		New:  func() report.Settings { return &Settings{Level: "error", Stack: true} },
	}
}

// Settings configures a reporter of the kind.
type Settings struct {
	Level string `config:"level" oneof:"info|warning|error" doc:"The level of the lines."`
	Stack bool   `config:"stack" doc:"Whether the lines carry the stack, where there is one."`
}

// Open returns the reporter.
func (s *Settings) Open(_ context.Context, env report.Env) (report.Reporter, error) {
	level, ok := map[string]slog.Level{"info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError}[s.Level]
	if !ok {
		return nil, fmt.Errorf("error reporter %q: level %q is not one of info, warning, error", env.Name, s.Level)
	}
	return &reporter{logger: env.Logger, level: level, stack: s.Stack}, nil
}

type reporter struct {
	logger *slog.Logger
	level  slog.Level
	stack  bool
}

// Report implements report.Reporter. What cannot be written to is counted by the log.
func (r *reporter) Report(ctx context.Context, batch []report.Report) (int, error) {
	for i := range batch {
		r.write(ctx, &batch[i])
	}
	return 0, nil
}

// Close implements report.Reporter.
func (r *reporter) Close() error { return nil }

func (r *reporter) write(ctx context.Context, rep *report.Report) {
	if !r.logger.Enabled(ctx, r.level) {
		return
	}
	title := rep.Message
	var attrs []slog.Attr
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	switch {
	case !rep.Exception:
	case rep.Final || !rep.RetryAt.IsZero():
		title = "task failed"
	default: // what it reports itself, or what failed beside its job
		title = "error in a task"
	}
	if t := rep.Task; t != nil {
		text("task", string(t.ID))
		text("type", t.Type)
		if t.Attempt > 0 {
			attrs = append(attrs, slog.Int("attempt", t.Attempt))
		}
	}
	text("kind", rep.Kind)
	if rep.Exception {
		text("error", rep.Message)
	}
	switch {
	case rep.Final:
		attrs = append(attrs, slog.Bool("final", true))
	case !rep.RetryAt.IsZero():
		attrs = append(attrs, slog.String("retry_at", rep.RetryAt.UTC().Format(time.RFC3339)))
	}
	text("plugin", rep.Plugin)
	if rep.PID != 0 {
		attrs = append(attrs, slog.Int("worker", rep.PID))
	}
	if e := rep.Exit; e != nil {
		text("exit", e.Reason)
		text("signal", e.Signal)
		attrs = append(attrs, slog.Int("code", e.Code), slog.Int64("peak_memory", e.PeakMemory))
		if len(e.Stderr) > 0 {
			attrs = append(attrs, slog.Any("output", e.Stderr))
		}
	}
	if t := rep.Task; t != nil {
		text("parameters", string(t.Params))
	}
	text("data", string(rep.Data))
	if r.stack {
		text("stack", rep.Stack)
	}
	text("report", rep.ID)
	line := slog.NewRecord(rep.Time, r.level, title, 0)
	line.AddAttrs(attrs...)
	_ = r.logger.Handler().Handle(ctx, line) // the log counts what it cannot write
}
