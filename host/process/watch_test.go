package process

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/process/sandbox"
)

// What is due soon is looked at together with what is due now.
func TestLimitsAreLookedAtTogether(t *testing.T) {
	t.Parallel()
	now := time.Now()
	every := (&sandbox.Sampler{}).Interval()
	for due, looked := range map[time.Duration]bool{-time.Hour: true, 0: true, every / 2: true, every * 2 / 3: false} {
		w := &watched{Sampler: &sandbox.Sampler{}, next: now.Add(due)}
		w.look(now)
		require.Equal(t, looked, w.next.Equal(now.Add(every)), due)
	}
}
