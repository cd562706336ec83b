package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/backplane/leptir/internal/pluginpb"
)

const (
	levelDebug   = slog.LevelDebug
	levelInfo    = slog.LevelInfo
	levelWarning = slog.LevelWarn
	levelError   = slog.LevelError
)

// LogInfo writes a line to the host's loggers, which add the task's id and type. The args
// are attributes as log/slog takes them: keys and values in turn, or slog.Attr.
//
//	t.LogInfo("mail sent", "to", address, "bytes", n)
//
// A line longer than MaxLogBytes is cut. A task that logs faster than the host reads loses
// lines, never time; how many is logged too.
func (t *BaseTask) LogInfo(msg string, args ...any) { t.log(levelInfo, msg, args) }

// LogDebug is LogInfo for what only a developer wants to know.
func (t *BaseTask) LogDebug(msg string, args ...any) { t.log(levelDebug, msg, args) }

// LogWarning is LogInfo for what somebody should look at.
func (t *BaseTask) LogWarning(msg string, args ...any) { t.log(levelWarning, msg, args) }

// LogError is LogInfo for what went wrong. It does not make the task fail.
func (t *BaseTask) LogError(msg string, args ...any) { t.log(levelError, msg, args) }

// Logger returns a logger whose lines go where LogInfo's go.
func (t *BaseTask) Logger() *slog.Logger { return slog.New(&logHandler{task: t}) }

func (t *BaseTask) log(level slog.Level, msg string, args []any) {
	var attrs []byte
	if len(args) > 0 {
		r := slog.NewRecord(time.Time{}, level, "", 0)
		r.Add(args...)
		attrs = recordAttrs(nil, r)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.emitLog(level, msg, attrs)
}

// emitLog sends one line, with the lock held; attrs is a JSON object or empty.
func (t *BaseTask) emitLog(level slog.Level, msg string, attrs []byte) {
	if t.out == nil {
		return
	}
	if len(attrs) > MaxLogBytes {
		attrs = fmt.Appendf(nil, `{"left_out":"%d bytes of attributes"}`, len(attrs))
	}
	line := &pluginpb.Log{
		Id: t.msg.GetId(), Time: time.Now().UnixNano(), Level: int32(level), Message: text(msg, MaxLogBytes), Attrs: attrs,
	}
	if t.ended {
		// Nothing may follow the task's result.
		line.Message += " (by a goroutine of task " + text(line.Id, maxNameBytes) + ", which has ended)"
		line.Id = ""
	}
	t.out.putLog(line)
}

// logHandler is the slog.Handler of a task.
type logHandler struct {
	task  *BaseTask
	scope []scope
}

// scope is a group, or the attributes that were added inside the groups before it.
type scope struct {
	group string
	attrs []slog.Attr
}

func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var attrs []byte
	if r.NumAttrs() > 0 || len(h.scope) > 0 {
		attrs = recordAttrs(h.scope, r)
	}
	h.task.mu.Lock()
	defer h.task.mu.Unlock()
	h.task.emitLog(r.Level, r.Message, attrs)
	return nil
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	return &logHandler{h.task, append(slices.Clip(h.scope), scope{attrs: attrs})}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &logHandler{h.task, append(slices.Clip(h.scope), scope{group: name})}
}

// recordAttrs writes the attributes of r, inside those of the scopes, as a JSON object;
// nothing if there are none.
func recordAttrs(scopes []scope, r slog.Record) []byte {
	own := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		own = append(own, a)
		return true
	})
	// From the innermost scope outwards, each group becomes one attribute of the next.
	for i := len(scopes) - 1; i >= 0; i-- {
		if s := scopes[i]; s.group != "" {
			own = []slog.Attr{{Key: s.group, Value: slog.GroupValue(own...)}}
		} else {
			own = append(slices.Clip(s.attrs), own...)
		}
	}
	b := appendAttrs([]byte{'{'}, own)
	if len(b) == 1 {
		return nil
	}
	return append(b, '}')
}

// appendAttrs writes attrs as members of a JSON object.
func appendAttrs(b []byte, attrs []slog.Attr) []byte {
	for _, a := range attrs {
		v := a.Value.Resolve()
		if v.Kind() == slog.KindGroup {
			switch group := v.Group(); {
			case len(group) == 0:
				continue
			case a.Key == "":
				b = appendAttrs(b, group)
				continue
			}
		}
		if a.Key == "" && a.Value.Equal(slog.Value{}) {
			continue
		}
		if len(b) > 1 && b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(appendJSON(b, a.Key), ':')
		b = appendValue(b, v)
	}
	return b
}

func appendValue(b []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindGroup:
		return append(appendAttrs(append(b, '{'), v.Group()), '}')
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindDuration:
		return appendJSON(b, v.Duration().String())
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			// fmt survives an Error method that panics.
			return appendJSON(b, fmt.Sprint(err))
		}
		return appendJSON(b, v.Any())
	case slog.KindTime:
		return appendJSON(b, v.Time())
	case slog.KindFloat64:
		return appendJSON(b, v.Float64())
	}
	return appendJSON(b, v.String())
}

// appendJSON writes v as JSON, or as text where it cannot be.
func appendJSON(b []byte, v any) (out []byte) {
	defer func() {
		if p := recover(); p != nil { // in a MarshalJSON of the author's
			out = append(b, `"(cannot be logged: its JSON method panics)"`...)
		}
	}()
	j, err := json.Marshal(v)
	if err != nil {
		j, _ = json.Marshal(fmt.Sprintf("%+v", v)) // a string always can
	}
	return append(b, j...)
}
