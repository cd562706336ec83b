package process

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A process that dies by itself while it is being killed for its lost stream is told by its
// own end.
func TestExitOfDyingProcess(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		script   string
		intended Reason
		want     Reason
	}{
		{"kill -SEGV $$", ReasonLost, ReasonSignal},
		{"exit 3", ReasonLost, ReasonExit},
		{"kill -KILL $$", ReasonLost, ReasonLost},
		{"kill -SEGV $$", ReasonTimeout, ReasonTimeout},
		{"exit 0", ReasonRetired, ReasonRetired},
		{"exit 0", "", ReasonExit},
		{"kill -TERM $$", "", ReasonSignal},
	} {
		cmd := exec.Command("sh", "-c", tt.script)
		_ = cmd.Run()
		e := exitOf(cmd.ProcessState, tt.intended, "", nil, time.Now())
		require.Equal(t, tt.want, e.Reason, "%s, killed for %q", tt.script, tt.intended)
		if e.Reason == ReasonSignal {
			require.Contains(t, []syscall.Signal{syscall.SIGSEGV, syscall.SIGTERM}, e.Signal)
		}
	}
}
