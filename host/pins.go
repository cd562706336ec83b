package host

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/backplane/leptir/host/config"
)

// pins says which plugin binaries may be started. It is safe for concurrent use.
type pins struct {
	lock atomic.Pointer[config.Lock]

	mu     sync.Mutex
	warned map[string]string // the sum that was warned of last, by plugin
}

// load reads the lock file. On an error what was read before holds.
func (p *pins) load(path string) error {
	lock, err := config.LoadLock(path)
	if err == nil {
		p.lock.Store(lock)
	}
	return err
}

// check returns why the binary with that sum must not be started as the plugin with that
// file name; override is the plugin's dev_override.
func (p *pins) check(file, sum string, override bool, logger *slog.Logger) error {
	err := p.lock.Load().Check(file, sum)
	if err == nil || !override {
		return err
	}
	p.mu.Lock()
	again := p.warned[file] == sum
	if p.warned == nil {
		p.warned = map[string]string{}
	}
	p.warned[file] = sum
	p.mu.Unlock()
	if !again {
		logger.Warn("plugin is served although it is not pinned, by its dev_override", "plugin", file, "sha256", sum, "problem", err)
	}
	return nil
}

// allow returns why a binary must not be started as the plugin with that file name.
func (h *Host) allow(file, sum string) error {
	return h.pins.check(file, sum, pluginConfig(h.config(), file).DevOverride, h.logger)
}
