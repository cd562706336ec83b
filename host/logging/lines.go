package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

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

// handler returns the handler that makes such lines; it lacks only where they go.
func (l Lines) handler() (*handler, error) {
	level, err := l.level()
	if err != nil {
		return nil, err
	}
	if l.Format != "text" && l.Format != "json" {
		return nil, fmt.Errorf("log format %q is not one of text, json", l.Format)
	}
	return &handler{level: level, json: l.Format == "json"}, nil
}

// entry is a line on its way to an output.
type entry struct {
	at    time.Time // zero where the record has none
	level slog.Level
	line  []byte            // with its line end
	attrs map[string]string // the attributes by themselves, where the output wants them
}

// output is where a handler's entries go. It is safe for concurrent use.
type output interface{ take(e entry) error }

// handler is the slog.Handler of all sinks: it makes a record a line and hands it on. It
// holds no lock while it does, since a value may log by itself while it is formatted.
type handler struct {
	out   output
	level slog.Level
	json  bool
	bare  bool // text lines without time and level, which travel beside them
	apart bool // entries have their attributes apart, too
	with  []func(slog.Handler) slog.Handler
}

// Enabled reports whether lines of that level are written.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// Handle writes a record.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	e, err := h.entry(ctx, r)
	if err != nil {
		return err
	}
	return h.out.take(e)
}

// WithAttrs returns a handler that adds the attributes to every line.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.derive(func(inner slog.Handler) slog.Handler { return inner.WithAttrs(attrs) })
}

// WithGroup returns a handler that puts the attributes that follow into a group.
func (h *handler) WithGroup(name string) slog.Handler {
	return h.derive(func(inner slog.Handler) slog.Handler { return inner.WithGroup(name) })
}

func (h *handler) derive(change func(slog.Handler) slog.Handler) slog.Handler {
	child := *h
	child.with = append(slices.Clip(h.with), change)
	return &child
}

// entry makes a record an entry. slog's own handlers do the formatting.
func (h *handler) entry(ctx context.Context, r slog.Record) (entry, error) {
	e := entry{at: r.Time, level: r.Level}
	var asJSON []byte
	if h.json || h.apart {
		var b bytes.Buffer
		if err := h.derived(slog.NewJSONHandler(&b, everything)).Handle(ctx, r.Clone()); err != nil {
			return e, err
		}
		asJSON = b.Bytes()
	}
	if h.apart {
		e.attrs = attrsApart(asJSON)
	}
	if h.json {
		e.line = asJSON
		return e, nil
	}
	var b bytes.Buffer
	r.Time = r.Time.UTC()
	if err := h.derived(slog.NewTextHandler(&b, everything)).Handle(ctx, r); err != nil {
		return e, err
	}
	e.line = rewriteHead(b.Bytes(), h.bare)
	return e, nil
}

// everything keeps slog's handlers from dropping lines by their level: that is decided.
var everything = &slog.HandlerOptions{Level: slog.Level(-1 << 20)}

func (h *handler) derived(inner slog.Handler) slog.Handler {
	for _, change := range h.with {
		inner = change(inner)
	}
	return inner
}

// attrsApart takes the attributes out of a line of JSON; one that is no text is its JSON.
func attrsApart(line []byte) map[string]string {
	var raw map[string]json.RawMessage
	if json.Unmarshal(line, &raw) != nil {
		return nil
	}
	attrs := make(map[string]string, len(raw))
	for key, value := range raw {
		switch key {
		case slog.TimeKey, slog.LevelKey, slog.MessageKey:
			continue
		}
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = strings.TrimSpace(string(value))
		}
		attrs[key] = text
	}
	return attrs
}
