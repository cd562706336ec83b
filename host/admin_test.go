package host_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/testservers/redisserver"
)

// admin asks a host by its socket file.
func (b *bundle) admin(path string) (int, string) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(b.dir, "var/leptir/admin.sock"))
	}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: 10 * time.Second}
	r, err := client.Get("http://host" + path)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(body)
}

// What a host says of itself: by default on a socket file, ready once its brokers answer.
func TestAdmin(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	b.install("plugins/demo", "demo")
	h := b.host()
	h.waitFor("health, metrics and status are served")
	require.Eventually(t, func() bool { code, _ := b.admin("/readyz"); return code == 200 }, 20*time.Second, 10*time.Millisecond)
	code, body := b.admin("/healthz")
	require.Equal(t, 200, code, body)

	done := many(20, "demo.noop")
	b.push(done...)
	b.records(done, 30*time.Second)
	slow := newTask("demo.sleep", `{"seconds":600}`)
	b.push(slow)
	require.Eventually(t, func() bool {
		_, body := b.admin("/metrics")
		return strings.Contains(body, "\nleptir_workers_busy 1\n")
	}, 20*time.Second, 50*time.Millisecond)
	_, body = b.admin("/metrics")
	for _, want := range []string{
		`leptir_attempts_total{exit="none",next="done",result="success",type="demo.noop"} 20`,
		`leptir_leases_held{broker="default"} 1`, "\nleptir_workers 4\n", `leptir_broker_up{broker="default"} 1`,
		`leptir_disagreement{between="tasks and leases"} 0`, `leptir_record_write_failures_total{store="records"} 0`,
	} {
		require.Contains(t, body, want)
	}
	var status struct {
		PID      int
		Brokers  []struct{ Held int }
		Accounts struct {
			Running      int `json:"running"`
			PoolJobs     int `json:"pool_jobs"`
			DispatchJobs int `json:"dispatch_jobs"`
			Leases       int `json:"leases"`
			Pool         int `json:"pool_processes"`
			Alive        int `json:"alive_processes"`
		} `json:"accounts"`
	}
	// For a moment they may differ: processes come and go.
	require.Eventually(t, func() bool {
		code, body := b.admin("/status")
		return code == 200 && json.Unmarshal([]byte(body), &status) == nil && status.Accounts.Pool == status.Accounts.Alive
	}, 20*time.Second, 100*time.Millisecond, "the pool's processes and those alive")
	require.Equal(t, h.cmd.Process.Pid, status.PID)
	require.Equal(t, 1, status.Accounts.PoolJobs)
	require.Equal(t, 1, status.Accounts.DispatchJobs)
	require.Equal(t, 1, status.Accounts.Leases)
	require.GreaterOrEqual(t, status.Accounts.Alive, 1)

	// Another host of the same folder goes without, and works.
	other := b.host()
	other.waitFor("another host of the same state folder serves its own there")

	h.signal(syscall.SIGTERM)
	require.Eventually(t, func() bool {
		code, body := b.admin("/readyz")
		return code == 503 && strings.Contains(body, "stopping")
	}, 20*time.Second, 10*time.Millisecond)
	h.signal(syscall.SIGTERM)
	time.Sleep(400 * time.Millisecond)
	h.signal(syscall.SIGTERM) // the second order does not wait for the task
	require.Zero(t, h.ended(30*time.Second))
	_, err := os.Stat(filepath.Join(b.dir, "var/leptir/admin.sock"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A host whose broker does not answer lives, and is not ready, and says which it is.
func TestNotReadyWithoutItsBroker(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	b := setup(t, `
broker "sqlite" "here" {}
broker "redis" "there" {
  connection {
    timeout = 1
    port    = `+strconv.Itoa(server.Port)+`
  }
}
meta_storage "sqlite" "records" {}
admin {
  address = "unix:var/leptir/admin.sock"
}
`)
	h := b.host()
	h.waitFor("health, metrics and status are served")
	ready := func(want int, text string) {
		t.Helper()
		require.Eventually(t, func() bool {
			code, body := b.admin("/readyz")
			return code == want && strings.Contains(body, text)
		}, 60*time.Second, 100*time.Millisecond, text)
	}
	ready(200, "ok")
	server.Kill()
	ready(503, `broker "there" has not answered for`)
	_, body := b.admin("/readyz")
	require.NotContains(t, body, `"here"`)
	code, _ := b.admin("/healthz")
	require.Equal(t, 200, code)
	server.Restart()
	ready(200, "ok")
}
