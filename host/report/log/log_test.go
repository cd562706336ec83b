package log_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/host/report/log"
	"github.com/backplane/leptir/task"
)

func write(t *testing.T, s *log.Settings, level slog.Level, reports ...report.Report) string {
	t.Helper()
	var out bytes.Buffer
	r, err := s.Open(t.Context(), report.Env{Name: "lines", Logger: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level}))})
	require.NoError(t, err)
	lost, err := r.Report(t.Context(), reports)
	require.NoError(t, err)
	require.Zero(t, lost)
	require.NoError(t, r.Close())
	return out.String()
}

func TestLines(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	reports := []report.Report{
		{ID: "r1", Time: at, Exception: true, Kind: report.KindCrash, Message: "process died of SIGSEGV", Stack: "goroutine 1\nmain.main()",
			Data: json.RawMessage(`{"list":7}`), Task: &report.Task{ID: "t1", Type: "mail.send", Attempt: 2, Params: json.RawMessage(`{"to":"ann"}`)},
			Plugin: "mail", PID: 42, Exit: &task.Exit{Reason: "signal", Signal: "SIGSEGV", PeakMemory: 1024, Stderr: []string{"boom"}}, Final: true},
		{ID: "r2", Time: at, Kind: report.KindPlugin, Message: `plugin "x" is broken`, Plugin: "x"},
		{ID: "r3", Time: at, Exception: true, Kind: report.KindError, Message: "busy", Task: &report.Task{ID: "t2", Type: "a"}, RetryAt: at.Add(time.Minute)},
		{ID: "r4", Time: at, Exception: true, Kind: report.KindError, Message: "one address is bad", Task: &report.Task{ID: "t3", Type: "a"}},
	}
	lines := strings.Split(strings.TrimSpace(write(t, log.Kind().New().(*log.Settings), slog.LevelInfo, reports...)), "\n")
	require.Len(t, lines, 4)
	require.JSONEq(t, `{"time":"2026-01-02T03:04:05Z","level":"ERROR","msg":"task failed","task":"t1","type":"mail.send","attempt":2,"kind":"crash",
		"error":"process died of SIGSEGV","final":true,"plugin":"mail","worker":42,"exit":"signal","signal":"SIGSEGV","code":0,"peak_memory":1024,
		"output":["boom"],"parameters":"{\"to\":\"ann\"}","data":"{\"list\":7}","stack":"goroutine 1\nmain.main()","report":"r1"}`, lines[0])
	require.JSONEq(t, `{"time":"2026-01-02T03:04:05Z","level":"ERROR","msg":"plugin \"x\" is broken","kind":"plugin","plugin":"x","report":"r2"}`, lines[1])
	require.Contains(t, lines[2], `"msg":"task failed"`)
	require.Contains(t, lines[2], `"retry_at":"2026-01-02T03:05:05Z"`)
	require.Contains(t, lines[3], `"msg":"error in a task"`, "a task that has not failed is not said to have")

	text := write(t, &log.Settings{Level: "warning"}, slog.LevelInfo, reports[0])
	require.Contains(t, text, `"level":"WARN"`)
	require.NotContains(t, text, "stack")
	require.Empty(t, write(t, &log.Settings{Level: "info"}, slog.LevelError, reports[0]))
}

func TestWrongLevel(t *testing.T) {
	t.Parallel()
	_, err := (&log.Settings{Level: "loud"}).Open(t.Context(), report.Env{Name: "lines"})
	require.EqualError(t, err, `error reporter "lines": level "loud" is not one of info, warning, error`)
}
