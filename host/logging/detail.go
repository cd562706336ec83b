package logging

import (
	"context"
	"log/slog"
)

// Detail returns a logger that logs to l with every level one lower: what is news to a
// library (go-plugin tells of each process that ends) is detail to a host.
func Detail(l *slog.Logger) *slog.Logger { return slog.New(detail{l.Handler()}) }

const oneLevel = slog.LevelInfo - slog.LevelDebug

type detail struct{ slog.Handler }

func (d detail) Enabled(ctx context.Context, level slog.Level) bool {
	return d.Handler.Enabled(ctx, level-oneLevel)
}

func (d detail) Handle(ctx context.Context, r slog.Record) error {
	r.Level -= oneLevel
	return d.Handler.Handle(ctx, r)
}

func (d detail) WithAttrs(attrs []slog.Attr) slog.Handler { return detail{d.Handler.WithAttrs(attrs)} }
func (d detail) WithGroup(name string) slog.Handler       { return detail{d.Handler.WithGroup(name)} }
