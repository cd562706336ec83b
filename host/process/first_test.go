package process

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/process/sandbox"
)

// TestFirstResult measures the start of a fresh process until its first result is there, beside
// fork and exec of the same binary alone, in turns. make isolation prints more of them.
func TestFirstResult(t *testing.T) {
	turns := 5
	if os.Getenv("LEPTIR_FIGURES") != "" {
		turns = 500
	}
	b := setupOn(t, machine(t))
	s := spec(t, "serve")
	s.Limits = sandbox.Limits{PidsMax: 512, NoNewPrivs: true, ProtectHost: true} // what every plugin has
	ways := []struct {
		name string
		once func() time.Duration
		took []time.Duration
	}{
		{name: "fork and exec alone, to its end", once: func() time.Duration {
			began := time.Now()
			cmd := exec.Command(s.Path)
			cmd.Env = []string{"LEPTIR_TEST_MODE=exit-at-start"}
			_ = cmd.Run()
			require.Equal(t, 7, cmd.ProcessState.ExitCode())
			return time.Since(began)
		}},
		{name: "start of a plugin process to its first result", once: func() time.Duration {
			began := time.Now()
			p, err := b.Start(t.Context(), s)
			require.NoError(t, err)
			do(t, p, "ok")
			m, err := p.Recv()
			require.NoError(t, err)
			require.NotNil(t, m.Events[0].GetResult())
			took := time.Since(began)
			p.Kill(ReasonRetired, "")
			drain(p)
			<-p.Gone()
			return took
		}},
	}
	for range turns {
		for i := range ways {
			ways[i].took = append(ways[i].took, ways[i].once())
		}
	}
	for _, w := range ways {
		slices.Sort(w.took)
		t.Logf("%s: p50 %.2f ms, p99 %.2f ms", w.name, ms(w.took[len(w.took)/2]), ms(w.took[len(w.took)*99/100]))
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
