package host

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/process/sandbox"
)

// What a machine does not enforce is said once for all plugins that it is about; those that
// are strict keep the host from starting.
func TestLimitGaps(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{Plugins: map[string]config.Plugin{
		"a": {Limits: config.Limits{CPUMax: 1, Network: true}},
		"b": {Limits: config.Limits{CPUMax: 2, Network: true}},
		"c": {Limits: config.Limits{Network: true, Strict: true}},
	}}
	machine := sandbox.Look("").WithoutGroups()
	gaps := limitGaps(cfg, machine)
	require.Equal(t, "cpu_max", gaps[0].Setting)
	require.Equal(t, `limits of plugin "a", plugin "b": cpu_max: no cgroups are mounted; it is not enforced`, gaps[0].String())
	var log strings.Builder
	require.NoError(t, checkLimits(gaps, slog.New(slog.NewTextHandler(&log, nil))))
	require.Equal(t, 1, strings.Count(log.String(), "setting=cpu_max"))

	// What nobody has asked for is told more quietly.
	d := cfg.PluginDefaults()
	d.Limits = config.Limits{PidsMax: 512, Network: true}
	quiet := limitGaps(&config.Config{Plugins: map[string]config.Plugin{"d": d}}, machine)
	require.Equal(t, "pids_max", quiet[0].Setting)
	require.True(t, quiet[0].Default)
	d.Limits.PidsMax = 100
	require.False(t, limitGaps(&config.Config{Plugins: map[string]config.Plugin{"d": d}}, machine)[0].Default)

	p := cfg.Plugins["b"]
	p.Limits.Strict = true
	cfg.Plugins["b"] = p
	require.EqualError(t, checkLimits(limitGaps(cfg, machine), slog.New(slog.DiscardHandler)),
		`limits of plugin "b" are strict, and cpu_max: no cgroups are mounted; it is not enforced`)
}
