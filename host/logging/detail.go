package logging

import (
	"context"
	"log/slog"
)

// Detail returns a logger that logs to l with every level lowered by two: what a library
// warns of (go-plugin does, of every process that it has not ended itself) is detail to a
// host, and what it calls an error is news.
func Detail(l *slog.Logger) *slog.Logger { return slog.New(detail{l.Handler()}) }

const lowered = slog.LevelWarn - slog.LevelDebug

type detail struct{ slog.Handler }

func (d detail) Enabled(ctx context.Context, level slog.Level) bool {
	return d.Handler.Enabled(ctx, level-lowered)
}

func (d detail) Handle(ctx context.Context, r slog.Record) error {
	r.Level -= lowered
	return d.Handler.Handle(ctx, r)
}

func (d detail) WithAttrs(attrs []slog.Attr) slog.Handler { return detail{d.Handler.WithAttrs(attrs)} }
func (d detail) WithGroup(name string) slog.Handler       { return detail{d.Handler.WithGroup(name)} }
