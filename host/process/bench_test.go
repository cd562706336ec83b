package process

import (
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/process/sandbox"
	"github.com/backplane/leptir/internal/testbin"
)

// BenchmarkStart is a process started, told nothing, killed and tidied up: without limits,
// with those that every plugin has, and with all of them; beside it fork and exec of the same
// binary alone.
func BenchmarkStart(b *testing.B) {
	path := testbin.Build(b, "internal/chaosplugin")
	b.Run("fork and exec alone", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.Command(path)
			cmd.Env = []string{"LEPTIR_TEST_MODE=exit-at-start"}
			_ = cmd.Run()
		}
	})
	all := sandbox.Limits{MemoryMax: 256 << 20, CPUMax: 2, PidsMax: 512, OpenFiles: 1024, NoNewPrivs: true, ProtectHost: true,
		PathsRead: []string{"/etc"}, NoNetwork: true}
	if os.Geteuid() == 0 {
		all.RunAs, all.ScratchMax = "12345:12345", 64<<20
	}
	for _, bb := range []struct {
		name   string
		limits sandbox.Limits
	}{
		{"no limits", sandbox.Limits{}},
		{"defaults", sandbox.Limits{PidsMax: 512, NoNewPrivs: true, ProtectHost: true}},
		{"all limits", all},
	} {
		b.Run(bb.name, func(b *testing.B) {
			l, err := NewLauncher(b.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil)), hclog.NewNullLogger(), func(Line) {},
				OnMachine(sandbox.Look(cgroupParent())))
			require.NoError(b, err)
			defer func() {
				require.NoError(b, l.Close())
				requireNoGroups(b, l.remains)
			}()
			for b.Loop() {
				p, err := l.Start(b.Context(), Spec{Plugin: "test", Path: path, Env: []string{"LEPTIR_TEST_MODE=serve"}, Limits: bb.limits})
				require.NoError(b, err)
				p.Kill(ReasonRetired, "")
				drain(p)
				<-p.Gone()
			}
		})
	}
}
