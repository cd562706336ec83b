package daemon

import (
	"errors"
	"strings"

	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/presence"
)

// maxReloadLines bounds what leptirctl is told: more than anybody reads.
const maxReloadLines = 500

// reload reopens the log files and reads the configuration anew. One that is not valid
// changes nothing. What came of it is logged, and said to leptirctl.
func (p *program) reload() {
	p.status.Reloads++
	number := p.status.Reloads
	p.notify.reloading()
	p.say(presence.Reloading)
	lines, err := p.takeOver()
	if err != nil {
		p.logs.logger.Error("the configuration cannot be reloaded; the host goes on as it was", "error", err.Error())
		lines = strings.Split(err.Error(), "\n")
	}
	if rerr := p.logs.sinks.Reopen(); rerr != nil {
		p.logs.logger.Error("a log file cannot be reopened; its lines go where they went", "error", rerr)
		lines = append(lines, rerr.Error())
		err = errors.Join(err, rerr)
	}
	p.status.Reload = presence.Reload{Number: number, Failed: err != nil, Lines: lines[:min(len(lines), maxReloadLines)]}
	p.say(presence.Running)
	p.notify.ready(p.summary())
}

// takeOver reads the configuration and takes over what can be changed now.
func (p *program) takeOver() (lines []string, err error) {
	cfg, err := config.Load(p.status.Config, Kinds())
	if err != nil {
		return nil, err
	}
	sinks, err := p.logs.prepare(cfg.Loggers)
	if err != nil {
		return nil, err
	}
	changes, err := p.host.Reload(cfg)
	if err != nil {
		return nil, errors.Join(err, p.logs.drop(sinks))
	}
	if err := p.logs.use(sinks); err != nil {
		p.logs.logger.Warn("a logger that is not used any more could not be closed", "error", err)
	}
	p.cfg = cfg
	for _, c := range changes.Applied {
		lines = append(lines, c.String())
		p.logs.logger.Info("reloaded", "change", c.String())
	}
	for _, c := range changes.Restart {
		lines = append(lines, "needs a restart: "+c.String())
		p.logs.logger.Warn("this change needs a restart of the host", "change", c.String())
	}
	if len(lines) == 0 {
		lines = append(lines, "nothing has changed")
		p.logs.logger.Info("reloaded: nothing has changed")
	}
	return lines, nil
}
