package host_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/daemon"
	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/task"
)

// BenchmarkNoop runs no-op tasks through a whole host: leased, run by plugin processes,
// recorded and settled, on the embedded broker and store in one file.
func BenchmarkNoop(b *testing.B) {
	for _, mode := range []string{"pooled", "fresh"} {
		b.Run(mode, func(b *testing.B) {
			dir := b.TempDir()
			require.NoError(b, os.Mkdir(filepath.Join(dir, "plugins"), 0o700))
			bin, err := os.ReadFile(testbin.Build(b, "plugins/demo"))
			require.NoError(b, err)
			require.NoError(b, os.WriteFile(filepath.Join(dir, "plugins", "demo"), bin, 0o700))
			cfg, err := config.Parse([]byte("plugin \"demo\" {\n isolation = \""+mode+"\"\n}\n"), filepath.Join(dir, "leptir.hcl"), daemon.Kinds())
			require.NoError(b, err)
			quiet := slog.New(slog.DiscardHandler)
			opened, err := cfg.OpenBrokers(b.Context(), quiet)
			require.NoError(b, err)
			queue := opened[0].Handle
			defer queue.Close()
			for i := 0; i < b.N; i += 1000 {
				batch := make([]task.Task, min(1000, b.N-i))
				for k := range batch {
					batch[k] = task.Task{ID: task.NewID(), Type: "demo.noop", PushedAt: time.Now()}
				}
				require.NoError(b, queue.Push(b.Context(), batch))
			}
			b.ResetTimer()
			h, err := host.Open(b.Context(), cfg, quiet)
			require.NoError(b, err)
			for {
				var st brokers.Stats
				st, err = queue.Stats(b.Context())
				require.NoError(b, err)
				if st.Ready+st.Leased == 0 {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			b.StopTimer()
			h.Stop(b.Context())
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}
