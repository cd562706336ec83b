package catalog

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// pinned is an Allow that a test changes.
type pinned struct {
	mu      sync.Mutex
	allowed map[string]bool // by sum; nil: all
}

func (p *pinned) allow(_, sum string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.allowed != nil && !p.allowed[sum] {
		return errors.New("it is not pinned")
	}
	return nil
}

func (p *pinned) set(sums ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allowed = map[string]bool{}
	for _, s := range sums {
		p.allowed[s] = true
	}
}

// A binary that is not allowed is never started; a served one that is allowed no more is
// served until the next reload, and one that is allowed from now on is taken up by it.
func TestOnlyAllowedBinariesAreServed(t *testing.T) {
	t.Parallel()
	b, pins := setup(t), &pinned{}
	b.options.Allow = pins.allow
	b.dropPlugin("mailer", "1", "mailer.send")
	b.open()
	b.eventually("it is served", func() bool { return b.forType("mailer.send") == "mailer" })
	first := b.plugin("mailer").SHA256
	pins.set(first)

	probes := b.probes.Load()
	b.dropPlugin("mailer", "2", "mailer.send", "mailer.count")
	b.eventually("the new one is refused", func() bool { return b.plugin("mailer").Problem != "" })
	p := b.plugin("mailer")
	require.Equal(t, first, p.SHA256, "the allowed one stays")
	require.Contains(t, p.Problem, "it is not pinned")
	require.Equal(t, probes, b.probes.Load(), "the refused one has not been started")

	b.dropPlugin("other", "3", "other.do")
	b.eventually("a new plugin is refused", func() bool { return b.plugin("other").Status == StatusBroken })
	require.Equal(t, probes, b.probes.Load())

	require.NoError(t, b.Reload(t.Context()))
	require.Equal(t, first, b.plugin("mailer").SHA256, "nothing has changed")

	pins.set() // nothing is allowed any more
	require.NoError(t, b.Reload(t.Context()))
	require.Equal(t, StatusBroken, b.plugin("mailer").Status)
	require.Empty(t, b.forType("mailer.send"))
	require.Equal(t, probes, b.probes.Load(), "no earlier copy is tried either")

	pins.mu.Lock()
	pins.allowed = nil
	pins.mu.Unlock()
	require.NoError(t, b.Reload(t.Context()))
	require.Equal(t, "mailer", b.forType("mailer.count"))
	require.Equal(t, "other", b.forType("other.do"))
	require.Empty(t, b.plugin("mailer").Problem)
}

// A reload tries at once again what did not come up.
func TestReloadTriesAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.set("mailer", "LEPTIR_TEST_MODE=exit-at-start")
	b.dropPlugin("mailer", "1", "mailer.send")
	b.open()
	b.eventually("it is broken", func() bool { return b.plugin("mailer").Status == StatusBroken })
	b.set("mailer", "LEPTIR_TEST_MODE=")
	require.NoError(t, b.Reload(t.Context()))
	require.Equal(t, "mailer", b.forType("mailer.send"))
	generation := b.plugin("mailer").Generation
	require.NoError(t, b.Reload(t.Context()))
	require.Equal(t, generation, b.plugin("mailer").Generation, "what is served and good is left alone")
}
