package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/process/sandbox"
)

// LimitGap is a limit of the configuration that this machine enforces in part or not at all.
type LimitGap struct {
	sandbox.Gap
	// Plugins are the plugins that are held to it; "every other plugin" stands for those
	// without a block.
	Plugins []string `json:"plugins"`
	// Strict are those of them that do not run without it.
	Strict []string `json:"strict,omitempty"`
	// Default says that nobody has asked for the limit: it is one that plugins have anyway.
	Default bool `json:"default,omitempty"`
}

// String returns the gap as a sentence.
func (g LimitGap) String() string {
	return fmt.Sprintf("limits of %s: %s", strings.Join(g.Plugins, ", "), g.Gap)
}

// LimitGaps returns which limits that the configuration asks for the kernel of this machine
// does not enforce for the calling program.
func LimitGaps(cfg *config.Config) []LimitGap {
	return slices.DeleteFunc(limitGaps(cfg, sandbox.Look(cfg.Host.CgroupParent)), func(g LimitGap) bool { return g.Default })
}

func limitGaps(cfg *config.Config, machine *sandbox.Machine) (gaps []LimitGap) {
	add := func(name string, l config.Limits) {
		for _, gap := range machine.Gaps(sandboxLimits(l)) {
			def := !l.Strict && config.IsDefaultLimit(l, gap.Setting)
			i := slices.IndexFunc(gaps, func(g LimitGap) bool { return g.Gap == gap && g.Default == def })
			if i < 0 {
				i = len(gaps)
				gaps = append(gaps, LimitGap{Gap: gap, Default: def})
			}
			gaps[i].Plugins = append(gaps[i].Plugins, name)
			if l.Strict {
				gaps[i].Strict = append(gaps[i].Strict, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Plugins)) {
		add(fmt.Sprintf("plugin %q", name), cfg.Plugins[name].Limits)
	}
	add("every other plugin", cfg.PluginDefaults().Limits)
	return gaps
}

// takeLimits checks what limits of a configuration this machine enforces, and keeps the gaps
// for Status. The error names those that it must.
func (h *Host) takeLimits(cfg *config.Config) error {
	gaps := limitGaps(cfg, h.machine)
	if err := checkLimits(gaps, h.logger); err != nil {
		return err
	}
	h.gaps.Store(&gaps)
	return nil
}

// checkLimits says once what limits the machine does not enforce. The error names those that
// it must.
func checkLimits(gaps []LimitGap, logger *slog.Logger) error {
	var errs []error
	for _, g := range gaps {
		if len(g.Strict) > 0 {
			errs = append(errs, fmt.Errorf("limits of %s are strict, and %s", strings.Join(g.Strict, ", "), g.Gap))
			continue
		}
		level := slog.LevelWarn
		if g.Default {
			level = slog.LevelInfo
		}
		logger.Log(context.Background(), level, "a limit is not enforced by the kernel", "setting", g.Setting, "why", g.Why, "plugins", strings.Join(g.Plugins, ", "))
	}
	return errors.Join(errs...)
}

// sandboxLimits turns a limits block into what a process is confined to.
func sandboxLimits(l config.Limits) sandbox.Limits {
	return sandbox.Limits{MemoryMax: int64(l.MemoryMax), CPUMax: l.CPUMax, PidsMax: l.PidsMax, OpenFiles: l.OpenFiles,
		ScratchMax: int64(l.ScratchMax), RunAs: l.RunAs, NoNewPrivs: l.NoNewPrivs, ProtectHost: l.ProtectHost,
		PathsRead: l.PathsRead, PathsWrite: l.PathsWrite, NoNetwork: !l.Network, Strict: l.Strict}
}
