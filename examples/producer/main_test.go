package main

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/backplane/leptir/host"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/daemon"
	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

func TestMain(m *testing.M) {
	testbin.Main(m, goleak.IgnoreTopFunction("github.com/backplane/leptir/host/process.spawnLoop"))
}

// site is a folder with a configuration, and with expenses of last month.
type site struct {
	dir, last string
	cfg       *config.Config
}

func newSite(t *testing.T, expenses string) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("builds programs")
	}
	s := &site{dir: t.TempDir(), last: month(time.Now().UTC(), -1).Format("2006-01")}
	require.NoError(t, os.Mkdir(filepath.Join(s.dir, "plugins"), 0o700))
	require.NoError(t, os.Symlink(testbin.Build(t, "examples/report"), filepath.Join(s.dir, "plugins", "report")))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, s.last+".csv"), []byte(expenses), 0o600))
	file := filepath.Join(s.dir, "leptir.hcl")
	require.NoError(t, os.WriteFile(file, []byte("host {\n  empty_queue_sleep_time = 0.05\n}\n"), 0o600))
	var err error
	s.cfg, err = config.Load(file, daemon.Kinds())
	require.NoError(t, err)
	return s
}

// produce runs the built program and returns the ids that it prints.
func (s *site) produce(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command(testbin.Build(t, "examples/producer"), append(args, "-folder", s.dir)...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return strings.Fields(string(out))
}

// host runs a host until the test ends, and returns its store of records.
func (s *site) host(t *testing.T) metastore.Store {
	t.Helper()
	h, err := host.Open(t.Context(), s.cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { h.Stop(context.Background()) })
	st, err := s.cfg.OpenStore(t.Context(), s.cfg.MetaStorages[0], nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Handle.Close()) })
	return st.Handle
}

// await waits for the record of a task that has ended.
func await(t *testing.T, records metastore.Store, id task.ID) (rec task.Record) {
	t.Helper()
	require.Eventually(t, func() bool {
		found, err := records.Get(context.Background(), []task.ID{id})
		if err != nil || len(found) != 1 || found[0].Status != task.Completed {
			return false
		}
		rec = found[0]
		return rec.Run.Undo == nil || rec.Run.Undo.State != task.UndoPending
	}, 30*time.Second, 20*time.Millisecond, "no record of task %s", id)
	return rec
}

// TestProducer has the program push, twice, and a host run what is due.
func TestProducer(t *testing.T) {
	t.Parallel()
	s := newSite(t, "paper,12.5\nink,30\n")
	queue := "sqlite:" + filepath.Join(s.dir, "var", "leptir.db") // where the configuration has it
	ids := s.produce(t, "-queue", queue)
	require.Len(t, ids, 3)
	require.Equal(t, "report-"+s.last, ids[0])
	require.Equal(t, ids, s.produce(t, "-config", filepath.Join(s.dir, "leptir.hcl")))

	brokers, err := s.cfg.OpenSet(t.Context(), nil)
	require.NoError(t, err)
	stats, err := brokers.For(0).Broker.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, []int{int(stats.Ready), int(stats.Scheduled)}, "what was pushed twice is queued once")
	require.NoError(t, brokers.Close())

	records := s.host(t)
	made := await(t, records, task.ID(ids[0]))
	require.Equal(t, task.Success, made.RetC)
	require.Equal(t, "2 expenses, 42.50 in all", made.RespM)
	require.Equal(t, []int{1, 2, 3}, made.Run.States)
	require.JSONEq(t, `{"total":42.5}`, string(made.Run.Result))
	report := filepath.Join(s.dir, s.last+".txt")
	require.FileExists(t, report)

	told := await(t, records, task.ID(ids[0]+"-ann"))
	require.Equal(t, "report.notify", told.Type)
	require.Equal(t, "ann knows of "+report, told.RespM)
}

// TestAFailedReportIsUndone has the host push and run what undoes a report.
func TestAFailedReportIsUndone(t *testing.T) {
	t.Parallel()
	s := newSite(t, "paper,12.5\nink,thirty\n")
	ids := s.produce(t, "-config", filepath.Join(s.dir, "leptir.hcl"), "-months", "0")
	require.Len(t, ids, 1)
	records := s.host(t)
	failed := await(t, records, task.ID(ids[0]))
	require.Equal(t, task.Error, failed.RetC)
	require.Equal(t, `line 2: "thirty" is no amount`, failed.RespM)
	require.NotNil(t, failed.Run.Undo)
	require.Equal(t, task.UndoPushed, failed.Run.Undo.State)

	undone := await(t, records, failed.Run.Undo.ID)
	require.Equal(t, "report.remove", undone.Type)
	require.Equal(t, task.Success, undone.RetC)
	require.Equal(t, failed.ID, undone.Run.Undoes)
	require.NoFileExists(t, filepath.Join(s.dir, s.last+".txt"))
}

func TestProducerFails(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), filepath.Join(t.TempDir(), "nowhere.hcl"), "", ".", 1, time.Now())
	require.ErrorContains(t, err, "nowhere.hcl")
	err = run(t.Context(), "", "amqp://x", ".", 1, time.Now())
	require.ErrorContains(t, err, `there is no broker of scheme "amqp"`)
}

func TestMonth(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for away, want := range map[int]string{-1: "2025-12", 0: "2026-01", 1: "2026-02", 12: "2027-01"} {
		require.Equal(t, want, month(now, away).Format("2006-01"))
	}
}
