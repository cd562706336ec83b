package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/host/report/webhook"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/task"
)

// receiver is a web server that takes deliveries as a careful one would.
type receiver struct {
	*httptest.Server
	answer func(n int, w http.ResponseWriter) // nil: 204

	mu    sync.Mutex
	heads []http.Header
	got   [][]byte
}

func newReceiver(t *testing.T, answer func(n int, w http.ResponseWriter)) *receiver {
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.heads, r.got = append(r.heads, req.Header.Clone()), append(r.got, body)
		n := len(r.got)
		r.mu.Unlock()
		if r.answer != nil {
			r.answer(n, w)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) deliveries() ([]http.Header, [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heads, r.got
}

func open(t *testing.T, url string, change func(*webhook.Settings)) report.Reporter {
	t.Helper()
	s := webhook.Kind().New().(*webhook.Settings)
	s.URL = settings.Secret(url)
	if change != nil {
		change(s)
	}
	require.NoError(t, s.Validate())
	r, err := s.Open(t.Context(), report.Env{Name: "hook", Host: "h", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func some() []report.Report {
	return []report.Report{{ID: "r1", Time: time.Unix(1, 0).UTC(), Host: "h", Exception: true, Kind: report.KindCrash, Message: "process died of SIGSEGV",
		Task:   &report.Task{ID: "t1", Type: "mail.send", Attempt: 2, Params: json.RawMessage(`{"to":"ann"}`)},
		Plugin: "mail", PID: 7, Exit: &task.Exit{Reason: "signal", Signal: "SIGSEGV"}, Final: true}, {ID: "r2", Kind: report.KindPlugin, Message: "two"}}
}

func TestDelivery(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t, nil)
	r := open(t, rc.URL+"/path?token=hunter2", func(s *webhook.Settings) {
		s.Secret = "s3cret"
		s.Headers = map[string]settings.Secret{"X-Team": "queue"}
	})
	lost, err := r.Report(t.Context(), some())
	require.NoError(t, err)
	require.Zero(t, lost)
	heads, got := rc.deliveries()
	require.Len(t, got, 1)
	h := heads[0]
	require.Equal(t, "application/json", h.Get("Content-Type"))
	require.Equal(t, "queue", h.Get("X-Team"))
	require.NotEmpty(t, h.Get(webhook.HeaderDelivery))
	at, err := strconv.ParseInt(h.Get(webhook.HeaderTimestamp), 10, 64)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), time.Unix(at, 0), time.Minute)
	require.Equal(t, webhook.Sign("s3cret", h.Get(webhook.HeaderTimestamp), got[0]), h.Get(webhook.HeaderSignature))
	require.NotEqual(t, webhook.Sign("other", h.Get(webhook.HeaderTimestamp), got[0]), h.Get(webhook.HeaderSignature))
	require.NotEqual(t, webhook.Sign("s3cret", "1", got[0]), h.Get(webhook.HeaderSignature), "the time is signed, too")
	require.JSONEq(t, `{"version":1,"reports":[
		{"id":"r1","time":"1970-01-01T00:00:01Z","host":"h","exception":true,"kind":"crash","message":"process died of SIGSEGV",
		 "task":{"id":"t1","type":"mail.send","attempt":2,"parameters":{"to":"ann"}},"plugin":"mail","pid":7,
		 "exit":{"reason":"signal","signal":"SIGSEGV"},"final":true},
		{"id":"r2","time":"0001-01-01T00:00:00Z","host":"","exception":false,"kind":"plugin","message":"two"}]}`, string(got[0]))
}

// The signature as others compute it: printf '17.{}' | openssl dgst -sha256 -hmac key.
func TestSign(t *testing.T) {
	t.Parallel()
	require.Equal(t, "sha256=e66392eac42eafc68c35a01c712811e016386c12456975fc3af80c9268568e3a", webhook.Sign("key", "17", []byte("{}")))
}

func TestNoSecretNoSignature(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t, nil)
	_, err := open(t, rc.URL, nil).Report(t.Context(), some())
	require.NoError(t, err)
	heads, _ := rc.deliveries()
	require.Empty(t, heads[0].Get(webhook.HeaderSignature))
}

func TestTriedAgain(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t, func(n int, w http.ResponseWriter) {
		if n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	lost, err := open(t, rc.URL, func(s *webhook.Settings) { s.Secret = "k" }).Report(t.Context(), some())
	require.NoError(t, err)
	require.Zero(t, lost)
	heads, got := rc.deliveries()
	require.Len(t, got, 3)
	for i := range got {
		require.Equal(t, heads[0].Get(webhook.HeaderDelivery), heads[i].Get(webhook.HeaderDelivery), "receivers know a delivery again")
		require.Equal(t, webhook.Sign("k", heads[i].Get(webhook.HeaderTimestamp), got[i]), heads[i].Get(webhook.HeaderSignature), "each try is signed")
	}
	require.Greater(t, heads[2].Get(webhook.HeaderTimestamp), heads[0].Get(webhook.HeaderTimestamp), "with its own time: the waits are 1.5 s")
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer func(n int, w http.ResponseWriter)
		tries  int
		want   string
	}{
		{"refused", func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }, 1, "the server answered 403 Forbidden"},
		{"broken", func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) }, 2, "the server answered 500 Internal Server Error"},
		{"redirect", func(_ int, w http.ResponseWriter) {
			w.Header().Set("Location", "https://evil.example.org/hunter2")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, 1, "the server answered 307 Temporary Redirect, a redirect; redirects are not followed: set url to where it leads"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rc := newReceiver(t, tt.answer)
			lost, err := open(t, rc.URL+"/hunter2", func(s *webhook.Settings) { s.Retries = 1 }).Report(t.Context(), some())
			require.EqualError(t, err, tt.want)
			require.Equal(t, 2, lost)
			_, got := rc.deliveries()
			require.Len(t, got, tt.tries)
		})
	}
}

// What is signed for one server does not go to another, whatever that server says.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	other := newReceiver(t, nil)
	rc := newReceiver(t, func(_ int, w http.ResponseWriter) {
		w.Header().Set("Location", other.URL)
		w.WriteHeader(http.StatusPermanentRedirect)
	})
	_, err := open(t, rc.URL, func(s *webhook.Settings) { s.Secret = "k" }).Report(t.Context(), some())
	require.Error(t, err)
	_, got := other.deliveries()
	require.Empty(t, got)
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t, nil)
	url := rc.URL
	rc.Close()
	lost, err := open(t, url+"/hunter2", func(s *webhook.Settings) { s.Retries = 0 }).Report(t.Context(), some())
	require.Equal(t, 2, lost)
	require.ErrorContains(t, err, "connection refused")
	require.NotContains(t, err.Error(), "hunter2")
}

// A server that never answers costs the time that the delivery has, and no more.
func TestHangingServer(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	rc := newReceiver(t, func(int, http.ResponseWriter) { <-release })
	t.Cleanup(func() { close(release) })
	r := open(t, rc.URL+"/hunter2", func(s *webhook.Settings) { s.TryTimeout = 200 * time.Millisecond })
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, fmt.Errorf("no end after 1s"))
	defer cancel()
	begin := time.Now()
	lost, err := r.Report(ctx, some())
	require.Less(t, time.Since(begin), 20*time.Second)
	require.Equal(t, 2, lost)
	require.ErrorContains(t, err, "no end after 1s; the last try: ")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"ftp://x/hunter2":         "url: it must begin with https:// or http://",
		"hunter2":                 "url: it must begin with https:// or http://",
		"https://":                "url: it names no host",
		"https://x/hunter2\x7f%":  "url: it is no address",
		"https://x.org/a":         "",
		"http://127.0.0.1:1/?a=b": "",
	} {
		s := webhook.Settings{URL: settings.Secret(url)}
		if want == "" {
			require.NoError(t, s.Validate(), url)
			continue
		}
		require.EqualError(t, s.Validate(), want)
		_, err := s.Open(t.Context(), report.Env{Name: "hook"})
		require.ErrorContains(t, err, `error reporter "hook"`)
		require.NotContains(t, err.Error(), "hunter2")
	}
	s := webhook.Settings{URL: "https://x.org", Headers: map[string]settings.Secret{"A": "hunter2\r\nB: c", "b d": "x"}}
	require.ErrorContains(t, s.Validate(), `headers: the value of "A" cannot be that of a header`)
	require.ErrorContains(t, s.Validate(), `headers: "b d" cannot be the name of a header`)
	require.False(t, strings.Contains(s.Validate().Error(), "hunter2"))
}
