package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/pluginpb"
)

// logged returns the lines that do writes.
func logged(t *testing.T, do func(b *BaseTask)) []LogLine {
	t.Helper()
	o := Try(context.Background(), each("t.log", func(_ context.Context, b *BaseTask) error {
		do(b)
		return nil
	}), nil)
	require.Equal(t, Success, o.Code, "%v", o.Failure)
	return o.Logs
}

func TestLogLevels(t *testing.T) {
	t.Parallel()
	lines := logged(t, func(b *BaseTask) {
		b.LogDebug("debug")
		b.LogInfo("info", "n", 1)
		b.LogWarning("warning", slog.Bool("b", true))
		b.LogError("error", "err", io.EOF)
		b.Logger().Debug("by slog")
		b.Logger().Log(context.Background(), slog.Level(2), "between")
	})
	require.Equal(t, []LogLine{
		{slog.LevelDebug, "debug", nil},
		{slog.LevelInfo, "info", map[string]any{"n": 1.0}},
		{slog.LevelWarn, "warning", map[string]any{"b": true}},
		{slog.LevelError, "error", map[string]any{"err": "EOF"}},
		{slog.LevelDebug, "by slog", nil},
		{slog.Level(2), "between", nil},
	}, lines)
	require.NotPanics(t, func() { new(BaseTask).LogInfo("without a host", "n", 1) })
}

type secret string

func (secret) LogValue() slog.Value { return slog.StringValue("***") }

// TestLogAttrs compares the attributes with what log/slog's own JSON handler writes.
func TestLogAttrs(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for name, log := range map[string]func(*slog.Logger){
		"none": func(l *slog.Logger) { l.Info("m") },
		"kinds": func(l *slog.Logger) {
			l.Info("m", "i", -1, "u", uint(1), "f", 1.5, "b", true, "s", "é\n\"", "t", at, "n", nil)
		},
		"values": func(l *slog.Logger) {
			l.Info("m", "list", []int{1, 2}, "map", map[string]int{"a": 1}, "err", errors.New("x"))
		},
		"log value":      func(l *slog.Logger) { l.Info("m", "password", secret("hunter2")) },
		"odd":            func(l *slog.Logger) { l.Info("m", []any{"key"}...) },
		"no key":         func(l *slog.Logger) { l.Info("m", []any{5, "x"}...) },
		"empty attr":     func(l *slog.Logger) { l.Info("m", slog.Attr{}, "a", 1) },
		"group":          func(l *slog.Logger) { l.Info("m", slog.Group("g", "a", 1, slog.Group("h", "b", 2)), "c", 3) },
		"empty group":    func(l *slog.Logger) { l.Info("m", slog.Group("g"), "a", 1, slog.Group("h", slog.Group("i"))) },
		"inline group":   func(l *slog.Logger) { l.Info("m", slog.Group("", "a", 1), "b", 2) },
		"with":           func(l *slog.Logger) { l.With("a", 1).With("b", 2).Info("m", "c", 3) },
		"with group":     func(l *slog.Logger) { l.With("a", 1).WithGroup("g").With("b", 2).WithGroup("h").Info("m", "c", 3) },
		"open group":     func(l *slog.Logger) { l.WithGroup("g").WithGroup("h").With("a", 1).Info("m") },
		"group, no attr": func(l *slog.Logger) { l.With("a", 1).WithGroup("g").Info("m") },
		"nothing with":   func(l *slog.Logger) { l.With().WithGroup("").Info("m", "a", 1) },
		"two of one": func(l *slog.Logger) {
			base := l.With("a", 1)
			base.With("b", 2).Info("m")
			base.With("c", 3).Info("m")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var buf bytes.Buffer
			log(slog.New(slog.NewJSONHandler(&buf, nil)))
			var want []map[string]any
			for dec := json.NewDecoder(&buf); dec.More(); {
				var m map[string]any
				require.NoError(t, dec.Decode(&m))
				for _, key := range []string{slog.TimeKey, slog.LevelKey, slog.MessageKey} {
					delete(m, key)
				}
				want = append(want, m)
			}
			var got []map[string]any
			for _, line := range logged(t, func(b *BaseTask) { log(b.Logger()) }) {
				if line.Attrs == nil {
					line.Attrs = map[string]any{}
				}
				got = append(got, line.Attrs)
			}
			require.Equal(t, want, got)
		})
	}
}

type rude struct{}

func (rude) MarshalJSON() ([]byte, error) { panic("rude") }

func TestLogAttrsThatAreNotJSON(t *testing.T) {
	t.Parallel()
	lines := logged(t, func(b *BaseTask) {
		b.LogInfo("m", "chan", make(chan int), "rude", rude{}, "err", angry{}, "d", time.Second, "bytes", "\xff", "last", 1)
	})
	attrs := lines[0].Attrs
	require.Contains(t, attrs["chan"], "0x")
	require.Equal(t, "(cannot be logged: its JSON method panics)", attrs["rude"])
	require.Contains(t, attrs["err"], "PANIC")
	require.Equal(t, "1s", attrs["d"])
	require.Equal(t, "\uFFFD", attrs["bytes"])
	require.Equal(t, 1.0, attrs["last"])
}

// TestLogFlood has a task log far more than may wait while the host does not read.
func TestLogFlood(t *testing.T) {
	t.Parallel()
	const lines = 20_000
	logging := make(chan struct{})
	h := newTestHost(t, each("t.flood", func(_ context.Context, b *BaseTask) error {
		filler := strings.Repeat("x", 1000)
		for i := range lines {
			b.LogInfo("flood", "i", i, "filler", filler)
			if i%10 == 0 {
				b.Progress(float64(i)/lines, filler)
			}
		}
		b.ChangeState(9)
		b.out.mu.Lock()
		waiting := b.out.bytes
		b.out.mu.Unlock()
		close(logging)
		if waiting > 2*MaxWaitingLogBytes {
			return fmt.Errorf("%d bytes wait", waiting)
		}
		return nil
	}))
	h.run(taskOf("t.flood", "a"), taskOf("t.flood2", "b"))
	<-logging // without reading: the task is not held up
	r, before := h.result()
	require.Equal(t, int32(1), r.ReturnCode, "%v", r.Response)
	require.Equal(t, []int32{9}, r.States)
	seen, dropped, state, next := 0, 0, false, 0
	for _, e := range before {
		switch k := e.Kind.(type) {
		case *pluginpb.Event_Log:
			require.Equal(t, "a", k.Log.Id)
			var n int
			if _, err := fmt.Sscanf(k.Log.Message, "%d log lines dropped", &n); err == nil {
				require.Equal(t, int32(slog.LevelWarn), k.Log.Level)
				dropped += n
				next += n
				continue
			}
			require.Equal(t, float64(next), decodeObject(k.Log.Attrs)["i"], "the gap is where its line is")
			next++
			seen++
		case *pluginpb.Event_State:
			state = true
		}
	}
	require.True(t, state, "a state is never dropped")
	require.Equal(t, lines, seen+dropped)
	require.Positive(t, dropped)
	r, _ = h.result()
	require.Equal(t, "b", r.Id)
}
