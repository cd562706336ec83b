package sentry

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	sentrygo "github.com/getsentry/sentry-go"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/task"
)

// server speaks as much of Sentry's envelope protocol as an event needs.
type server struct {
	*httptest.Server
	t      *testing.T
	answer func(n int, w http.ResponseWriter)

	mu     sync.Mutex
	events []map[string]any
	calls  int
	wrong  []string
}

func newServer(t *testing.T, answer func(n int, w http.ResponseWriter)) *server {
	s := &server{t: t, answer: answer}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		require.Empty(t, s.wrong)
	})
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	events, err := readEnvelope(req)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if err != nil {
		s.wrong = append(s.wrong, err.Error())
	}
	if s.answer != nil {
		s.answer(s.calls, w)
		return
	}
	s.events = append(s.events, events...)
	_, _ = io.WriteString(w, `{"id":"x"}`)
}

// readEnvelope reads the events of a request: a line of headers, then for each item a line
// of headers and its payload.
func readEnvelope(req *http.Request) (events []map[string]any, err error) {
	if req.Method != http.MethodPost || req.URL.Path != "/api/42/envelope/" {
		return nil, errors.New(req.Method + " " + req.URL.Path)
	}
	if auth := req.Header.Get("X-Sentry-Auth"); !strings.Contains(auth, "sentry_key=public") {
		return nil, errors.New("auth: " + auth)
	}
	var body io.Reader = req.Body
	if req.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			return nil, err
		}
	}
	r := bufio.NewReader(body)
	var head struct {
		EventID string `json:"event_id"`
	}
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, err
	}
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) == 0 {
			return events, nil
		}
		var item struct {
			Type   string `json:"type"`
			Length int    `json:"length"`
		}
		if err := json.Unmarshal(line, &item); err != nil {
			return nil, err
		}
		payload := make([]byte, item.Length)
		if _, err := io.ReadFull(r, payload); err != nil {
			return nil, err
		}
		_, _ = r.ReadByte()
		if item.Type != "event" {
			continue
		}
		var event map[string]any
		if err := json.Unmarshal(payload, &event); err != nil {
			return nil, err
		}
		if event["event_id"] != head.EventID {
			return nil, errors.New("the envelope's id is another than the event's")
		}
		events = append(events, event)
	}
}

func open(t *testing.T, s *server) report.Reporter {
	t.Helper()
	set := Kind().New().(*Settings)
	set.DSN = settings.Secret(strings.Replace(s.URL, "http://", "http://public@", 1) + "/42")
	set.Environment = "staging"
	require.NoError(t, set.Validate())
	r, err := set.Open(t.Context(), report.Env{Name: "sentry", Host: "h1", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func TestEvent(t *testing.T) {
	t.Parallel()
	before := sentrygo.CurrentHub().Client()
	s := newServer(t, nil)
	r := open(t, s)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	stack := string(debug.Stack())
	lost, err := r.Report(t.Context(), []report.Report{
		{ID: "01900000-0000-7000-8000-000000000001", Time: at, Host: "h2", Exception: true, Kind: report.KindPanic, Message: "index out of range", Stack: stack,
			Data:   json.RawMessage(`{"list":7}`),
			Task:   &report.Task{ID: "t1", Type: "mail.send", Attempt: 2, Params: json.RawMessage(`{"to":"ann","password":"[redacted]"}`)},
			Plugin: "mail", PID: 42, RetryAt: at.Add(time.Minute)},
		{ID: "01900000-0000-7000-8000-000000000002", Time: at, Exception: true, Kind: report.KindCrash, Message: "process 4711 died of SIGSEGV",
			Task: &report.Task{ID: "t2", Type: "mail.send", Attempt: 1}, Final: true,
			Exit: &task.Exit{Reason: "signal", Signal: "SIGSEGV", PeakMemory: 1 << 20, Stderr: []string{"boom"}}, Stack: "a stack of another language"},
		{ID: "01900000-0000-7000-8000-000000000003", Time: at, Kind: report.KindPlugin, Message: "plugin is broken", Plugin: "x"},
	})
	require.NoError(t, err)
	require.Zero(t, lost)
	require.Len(t, s.events, 3)

	e := s.events[0]
	require.Equal(t, "01900000000070008000000000000001", e["event_id"], "the same when it is sent again")
	require.Equal(t, "error", e["level"])
	require.Equal(t, "staging", e["environment"])
	require.Equal(t, "h2", e["server_name"])
	require.Equal(t, "2026-01-02T03:04:05Z", e["timestamp"])
	require.Equal(t, map[string]any{"kind": "panic", "task_type": "mail.send", "task_id": "t1", "attempt": "2", "final": "false", "plugin": "mail"}, e["tags"])
	require.Equal(t, []any{"{{ default }}", "panic", "mail.send"}, e["fingerprint"])
	exception := e["exception"].([]any)[0].(map[string]any)
	require.Equal(t, "panic", exception["type"])
	require.Equal(t, "index out of range", exception["value"])
	frames := exception["stacktrace"].(map[string]any)["frames"].([]any)
	innermost := frames[len(frames)-1].(map[string]any)
	require.Equal(t, "Stack", innermost["function"])
	require.Equal(t, "runtime/debug", innermost["module"])
	caller := frames[len(frames)-2].(map[string]any)
	require.Equal(t, "TestEvent", caller["function"])
	require.Equal(t, "sentry_test.go", caller["filename"])
	require.Equal(t, true, caller["in_app"])
	require.Greater(t, caller["lineno"], 100.0)
	contexts := e["contexts"].(map[string]any)
	require.Equal(t, map[string]any{"to": "ann", "password": "[redacted]"}, contexts["parameters"])
	require.Equal(t, map[string]any{"list": 7.0}, contexts["data"])
	require.Equal(t, map[string]any{"pid": 42.0}, contexts["process"])
	require.Equal(t, map[string]any{"id": "t1", "type": "mail.send", "attempt": 2.0, "final": false, "retry_at": "2026-01-02T03:05:05Z"}, contexts["task"])
	require.NotContains(t, e, "modules", "nothing of this process is sent")

	e = s.events[1]
	require.Equal(t, []any{"process  died of SIGSEGV", "crash", "mail.send"}, e["fingerprint"], "numbers do not tell groups apart")
	require.Equal(t, "true", e["tags"].(map[string]any)["final"])
	require.Equal(t, "SIGSEGV", e["tags"].(map[string]any)["signal"])
	process := e["contexts"].(map[string]any)["process"].(map[string]any)
	require.Equal(t, []any{"boom"}, process["output"])
	require.Equal(t, "a stack of another language", process["stack"])

	e = s.events[2]
	require.Equal(t, "plugin is broken", e["message"])
	require.NotContains(t, e, "exception")
	require.Equal(t, before, sentrygo.CurrentHub().Client(), "nothing global is set")
}

func TestFailures(t *testing.T) {
	t.Parallel()
	one := []report.Report{{ID: "a", Message: "x"}, {ID: "b", Message: "y"}}
	for _, tt := range []struct {
		name   string
		answer func(n int, w http.ResponseWriter)
		calls  int
		lost   int
		want   string
	}{
		{"forbidden", func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }, 2, 2, "the server answered 403 Forbidden"},
		{"down for a moment", func(n int, w http.ResponseWriter) {
			if n == 1 {
				w.WriteHeader(http.StatusBadGateway)
			}
		}, 3, 0, ""},
		{"one is refused", func(n int, w http.ResponseWriter) {
			if n == 1 {
				w.WriteHeader(http.StatusBadRequest)
			}
		}, 2, 1, "the server answered 400 Bad Request"},
		{"too many", func(_ int, w http.ResponseWriter) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
		}, 1, 2, "it was not sent: the server has asked for fewer events for a while"},
		{"redirect", func(_ int, w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(http.StatusFound)
		}, 2, 2, "the server answered 302 Found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, tt.answer)
			lost, err := open(t, s).Report(t.Context(), one)
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, tt.want)
			}
			require.Equal(t, tt.lost, lost)
			s.mu.Lock()
			defer s.mu.Unlock()
			require.Equal(t, tt.calls, s.calls)
		})
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	r := open(t, s)
	s.Close()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("no end after 300ms"))
	defer cancel()
	lost, err := r.Report(ctx, []report.Report{{ID: "a"}, {ID: "b"}})
	require.Equal(t, 2, lost)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "public")
}

func TestBadDSN(t *testing.T) {
	t.Setenv("SENTRY_DSN", "https://public@elsewhere.example.org/1") // which nobody has asked for
	for _, dsn := range []string{"", "hunter2", "https://sentry.example.org/1", "https://hunter2@sentry.example.org/", "ftp://hunter2@x/1"} {
		_, err := (&Settings{DSN: settings.Secret(dsn)}).Open(t.Context(), report.Env{Name: "s"})
		require.EqualError(t, err, `error reporter "s": dsn: it is not of the form https://KEY@HOST/PROJECT`)
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	frames := framesOf(`goroutine 35 [running]:
panic({0x6a2b00?, 0xc00010?})
	/usr/local/go/src/runtime/panic.go:785 +0x132
main.(*Mail[...]).DoJob(0xc0000b4000, {0x7f0, 0xc0})
	/home/ann/mail/main.go:17 +0x1d
example.org/mail/smtp.send.func1(...)
	/home/ann/mail/smtp/send.go:99
github.com/backplane/leptir/plugin-sdk.(*executor).advance(0xc0001)
	/src/plugin-sdk/executor.go:160 +0x3f
created by example.org/mail/smtp.Start in goroutine 1
	/home/ann/mail/smtp/start.go:5 +0x10

goroutine 1 [chan receive]:
main.main()
	/home/ann/mail/main.go:40 +0x1d
`)
	var got []string
	for _, f := range frames {
		inApp := ""
		if f.InApp {
			inApp = " *"
		}
		got = append(got, strings.Join([]string{f.Module, f.Function, f.Filename}, "|")+inApp)
	}
	require.Equal(t, []string{
		"example.org/mail/smtp|Start|start.go *",
		"github.com/backplane/leptir/plugin-sdk|(*executor).advance|executor.go",
		"example.org/mail/smtp|send.func1|send.go *",
		"main|(*Mail[...]).DoJob|main.go *",
		"|panic|panic.go",
	}, got)
	require.Equal(t, 17, frames[3].Lineno)
	for _, other := range []string{"", "Traceback (most recent call last):\n  File \"x.py\"", "goroutine", "goroutine 1 [running]:", "goroutine 1 [running]:\n\n\n"} {
		require.Nil(t, framesOf(other), other)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(string(debug.Stack()))
	f.Add("goroutine 1 [running]:\nmain.main()\n\t/x.go:1 +0x1\n")
	f.Add("goroutine 1 [running]:\n)(\n\t:\n")
	f.Add("goroutine 1 [running]:\ncreated by  in goroutine \n\t\xff:99999999999999999999\n")
	f.Fuzz(func(t *testing.T, stack string) {
		for _, frame := range framesOf(stack) {
			require.LessOrEqual(t, len(frame.Function)+len(frame.Module), 2*maxFrameLen)
			require.GreaterOrEqual(t, frame.Lineno, 0)
		}
	})
}
