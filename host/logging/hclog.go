package logging

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// HCLog returns a logger for libraries that want an hclog.Logger, go-plugin above all.
//
// What is logged on it goes to l. Loggers made by its Named or ResetNamed are switched
// off and say so by GetLevel: go-plugin makes one for each plugin's stderr, and as long as
// that one is on, it parses every line in a way that a hostile line makes panic. The host
// reads plugin output by itself.
//
// The result never panics, whatever its arguments, and is safe for concurrent use. A nil
// l discards everything. Levels are l's business: SetLevel does nothing.
func HCLog(l *slog.Logger) hclog.Logger {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return &hclogger{log: l}
}

// levelTrace is hclog's Trace in slog's terms.
const levelTrace = slog.LevelDebug - 4

type hclogger struct {
	log     *slog.Logger
	name    string
	implied []any
	off     bool
}

func slogLevel(level hclog.Level) slog.Level {
	switch level {
	case hclog.Trace:
		return levelTrace
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	}
	return slog.LevelInfo
}

func (h *hclogger) enabled(level hclog.Level) bool {
	return !h.off && level != hclog.Off && h.log.Enabled(context.Background(), slogLevel(level))
}

// Log logs msg with args, alternating keys and values.
func (h *hclogger) Log(level hclog.Level, msg string, args ...any) {
	if !h.enabled(level) {
		return
	}
	attrs := append(attrsOf(h.implied), attrsOf(args)...)
	h.log.LogAttrs(context.Background(), slogLevel(level), msg, attrs...)
}

func (h *hclogger) Trace(msg string, args ...any) { h.Log(hclog.Trace, msg, args...) }
func (h *hclogger) Debug(msg string, args ...any) { h.Log(hclog.Debug, msg, args...) }
func (h *hclogger) Info(msg string, args ...any)  { h.Log(hclog.Info, msg, args...) }
func (h *hclogger) Warn(msg string, args ...any)  { h.Log(hclog.Warn, msg, args...) }
func (h *hclogger) Error(msg string, args ...any) { h.Log(hclog.Error, msg, args...) }

func (h *hclogger) IsTrace() bool { return h.enabled(hclog.Trace) }
func (h *hclogger) IsDebug() bool { return h.enabled(hclog.Debug) }
func (h *hclogger) IsInfo() bool  { return h.enabled(hclog.Info) }
func (h *hclogger) IsWarn() bool  { return h.enabled(hclog.Warn) }
func (h *hclogger) IsError() bool { return h.enabled(hclog.Error) }

func (h *hclogger) ImpliedArgs() []any { return append([]any(nil), h.implied...) }

// With returns a logger that adds args to every line; one that is off stays off.
func (h *hclogger) With(args ...any) hclog.Logger {
	child := *h
	child.implied = append(h.ImpliedArgs(), args...)
	if len(args)%2 != 0 { // or the pairs that follow would be shifted
		last := len(child.implied) - 1
		child.implied = append(child.implied[:last], hclog.MissingKey, child.implied[last])
	}
	return &child
}

func (h *hclogger) Name() string { return h.name }

// Named returns a logger that is off; see HCLog.
func (h *hclogger) Named(name string) hclog.Logger {
	if h.name != "" {
		name = h.name + "." + name
	}
	return h.ResetNamed(name)
}

// ResetNamed returns a logger that is off; see HCLog.
func (h *hclogger) ResetNamed(name string) hclog.Logger {
	child := *h
	child.name, child.off = name, true
	return &child
}

func (h *hclogger) SetLevel(hclog.Level) {}

// GetLevel returns the least important level that is logged.
func (h *hclogger) GetLevel() hclog.Level {
	for level := hclog.Trace; level <= hclog.Error; level++ {
		if h.enabled(level) {
			return level
		}
	}
	return hclog.Off
}

// StandardLogger returns a standard library logger that logs on h.
func (h *hclogger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(h.StandardWriter(o), "", 0)
}

// StandardWriter returns a writer that logs what is written to it, one line a call, at
// the forced level or at info.
func (h *hclogger) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	level := hclog.Info
	if o != nil && o.ForceLevel != hclog.NoLevel {
		level = o.ForceLevel
	}
	return lineWriter{h, level}
}

type lineWriter struct {
	to    hclog.Logger
	level hclog.Level
}

func (w lineWriter) Write(b []byte) (int, error) {
	w.to.Log(w.level, strings.TrimRight(string(b), " \t\r\n"))
	return len(b), nil
}

// attrsOf turns hclog's alternating keys and values into attributes. Keys that are no
// texts are printed; a value without a key gets hclog.MissingKey, as in hclog.
func attrsOf(args []any) []slog.Attr {
	attrs := make([]slog.Attr, 0, (len(args)+1)/2)
	for len(args) > 1 {
		key, ok := args[0].(string)
		if !ok {
			key = printed(args[0])
		}
		attrs = append(attrs, slog.Any(key, hclogValue(args[1])))
		args = args[2:]
	}
	if len(args) == 1 {
		attrs = append(attrs, slog.Any(hclog.MissingKey, hclogValue(args[0])))
	}
	return attrs
}

// hclogValue turns the value types of hclog that stand for a way of printing into texts.
func hclogValue(v any) any {
	switch v := v.(type) {
	case hclog.Format:
		if len(v) == 0 {
			return ""
		}
		format, ok := v[0].(string)
		if !ok {
			return printed([]any(v))
		}
		return protect(func() string { return fmt.Sprintf(format, v[1:]...) })
	case hclog.Hex:
		return "0x" + strconv.FormatInt(int64(v), 16)
	case hclog.Octal:
		return "0" + strconv.FormatInt(int64(v), 8)
	case hclog.Binary:
		return "0b" + strconv.FormatInt(int64(v), 2)
	case hclog.CapturedStacktrace:
		return string(v)
	case hclog.Quote:
		return string(v)
	case nil, bool, string, int, int64, float64, slog.LogValuer:
		return v
	case error:
		return protect(func() string { return fmt.Sprintf("%v", v) })
	}
	return printed(v)
}

func printed(v any) string { return protect(func() string { return fmt.Sprintf("%+v", v) }) }

// protect returns the text that f makes. fmt recovers from the panic of a value's own
// method, but not if what it panicked with panics too when it is printed.
func protect(f func() string) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = "!PANIC"
		}
	}()
	return f()
}
