package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/daemon"
	"github.com/backplane/leptir/internal/testservers/redisserver"
	"github.com/backplane/leptir/task"
)

// A broker that is down when the host starts, dies, or comes back does not keep the others
// from being served, and nothing of it is lost.
func TestBrokerDownAtStartAndLater(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	b := setup(t, fmt.Sprintf(`
broker "sqlite" "here" {}
broker "redis" "there" {
  connection {
    port = %d
  }
}
meta_storage "sqlite" "records" {}
host {
  lease_time = 2
}
`, server.Port))
	there := openBroker(t, b.cfg, "there")
	tasks := many(50, "demo.noop")
	for i := range tasks {
		tasks[i].PushedAt = time.Now()
	}
	require.NoError(t, there.Push(t.Context(), tasks))
	server.Kill()

	b.install("plugins/demo", "demo")
	h := b.host()
	h.waitFor("cannot be reached at the start")
	local := many(10, "demo.noop")
	b.push(local...)
	b.records(local, 30*time.Second)

	server.Restart()
	b.records(tasks, 60*time.Second)
	server.Kill()
	local = many(10, "demo.noop")
	b.push(local...)
	b.records(local, 30*time.Second)
	server.Restart()
	late := newTask("demo.noop", "")
	late.PushedAt = time.Now()
	require.Eventually(t, func() bool { return there.Push(context.Background(), []task.Task{late}) == nil }, 30*time.Second, 50*time.Millisecond)
	b.records([]task.Task{late}, 60*time.Second)
	h.signal(syscall.SIGTERM)
	require.Zero(t, h.ended(30*time.Second))
}

func TestBrokerDownEndsTheHostIfConfigured(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "plugins"), 0o700))
	path := filepath.Join(dir, "leptir.hcl")
	require.NoError(t, os.WriteFile(path, []byte(`
broker "redis" "there" {
  on_start_failure = "exit"
  connection {
    port = 1
  }
}
`), 0o600))
	cfg, err := config.Load(path, daemon.Kinds())
	require.NoError(t, err)
	_, err = cfg.OpenBrokers(t.Context(), slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, `broker "there"`)
	b := &bundle{t: t, dir: dir, path: path}
	h := b.host()
	require.Equal(t, 1, h.ended(30*time.Second))
	require.Contains(t, h.printed(), `broker "there"`)
	require.Contains(t, h.printed(), "connection refused")
}

func openBroker(t *testing.T, cfg *config.Config, name string) brokers.Broker {
	t.Helper()
	for _, block := range cfg.Brokers {
		if block.Name == name {
			opened, err := cfg.OpenBroker(t.Context(), block, nil)
			require.NoError(t, err)
			t.Cleanup(func() { _ = opened.Handle.Close() })
			return opened.Handle
		}
	}
	require.Fail(t, "no broker "+name)
	return nil
}

// An unchanged producer of the original puts its JSON into the sorted set; the task runs
// under its own id, and any client of the original's reads the record.
func TestOriginalProducerOverRedis(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	connection := fmt.Sprintf("connection {\n    port = %d\n  }", server.Port)
	b := setup(t, fmt.Sprintf(`
task_alias = { "Leptir\\Task\\Test\\TestTask" = "demo.test" }
broker "redis" "default" {
  %s
}
meta_storage "redis" "records" {
  %s
}
host {
  number_of_workers = 2
}
`, connection, connection))
	b.install("plugins/demo", "demo")
	b.host()
	now := time.Now().Unix()
	for id, class := range map[string]string{"php-1": `Leptir\\Task\\Test\\TestTask`, "php-2": `Demo\\Noop`} {
		server.Do("ZADD", "leptir:ztasks", fmt.Sprint(now),
			fmt.Sprintf(`{"cn":"%s","pr":0,"tl":5,"toex":"","td":{"id":"%s","parameters":{"to":"ann"}}}`, class, id))
	}
	got := b.records([]task.Task{{ID: "php-1"}, {ID: "php-2"}}, 30*time.Second)
	require.Equal(t, "demo.test", got["php-1"].Type)
	require.Contains(t, got["php-1"].RespM, "ann")
	require.Equal(t, "demo.noop", got["php-2"].Type)

	var record struct {
		ID      string  `json:"id"`
		Status  int     `json:"status"`
		RetC    int     `json:"retC"`
		ExTime  float64 `json:"exTime"`
		RespM   string  `json:"respM"`
		Type    string  `json:"type"`
		ExStart any     `json:"exStart"`
	}
	require.NoError(t, json.Unmarshal([]byte(server.Do("GET", "leptir:taskinfo:php-1")), &record))
	require.Equal(t, "php-1", record.ID)
	require.Equal(t, 3, record.Status)
	require.Equal(t, 1, record.RetC)
	require.Equal(t, "demo.test", record.Type)
	require.NotNil(t, record.ExStart)
	require.NotEqual(t, "-1", server.Do("TTL", "leptir:taskinfo:php-1"), "records expire")
	b.empty()
}
