package host

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/backplane/leptir/host/catalog"
	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/host/report"
)

// reportFlush is how long reports that wait may still be delivered at a shutdown.
const reportFlush = 5 * time.Second

// openReports opens the error reporters.
func (h *Host) openReports(ctx context.Context) error {
	env := report.Env{Host: h.cfg.Host.Name, Logger: h.logger, Launcher: h.launcher, Plugin: h.reporterSpec}
	var members []report.Member
	for _, c := range h.cfg.ErrorReporting {
		env.Name = c.Name
		r, err := c.Settings.Open(ctx, env)
		if err != nil {
			for _, m := range members {
				_ = m.Reporter.Close()
			}
			return err
		}
		members = append(members, report.Member{Name: c.Name, Kind: c.Kind, Queue: c.Queue, Timeout: c.Timeout,
			Redact: c.Redact, HideParams: !c.Parameters, Reporter: r})
	}
	h.reports = report.NewHub(h.cfg.Host.Name, h.logger, members...)
	h.reportedPlugins = map[string]string{}
	h.reportPlugins()
	return nil
}

// closeReports delivers what waits, for a while, and closes the error reporters.
func (h *Host) closeReports() {
	if h.reports == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), reportFlush)
	defer cancel()
	h.reports.Close(ctx)
}

// reporterSpec says how the process of a plugin that is an error reporter is started.
func (h *Host) reporterSpec(name string) (process.Spec, error) {
	for _, p := range h.catalog.Current().Plugins {
		if strings.TrimSuffix(p.Name, filepath.Ext(p.Name)) != name {
			continue
		}
		switch {
		case !p.Serving():
			return process.Spec{}, fmt.Errorf("plugin %q is %s: %s", p.Name, p.Status, p.Problem)
		case !p.ErrorReporter:
			return process.Spec{}, fmt.Errorf("plugin %q is no error reporter; it must serve one, with Go's SDK by sdk.ServeReporter or Plugin.ErrorReporter", p.Name)
		}
		spec := h.spec(p.Name)
		spec.Path = p.Staged
		return spec, nil
	}
	return process.Spec{}, fmt.Errorf("there is no plugin %q in %s", name, h.cfg.Host.PluginDir)
}

// reportPlugins reports each plugin that is not served, or not as its file lies in the
// folder, once for each problem. One goroutine calls it.
func (h *Host) reportPlugins() {
	for _, p := range h.catalog.Current().Plugins {
		if p.Problem == "" || p.Status == catalog.StatusProbing || h.reportedPlugins[p.Name] == p.Problem {
			continue
		}
		h.reportedPlugins[p.Name] = p.Problem
		h.reports.Report(report.Report{Kind: report.KindPlugin, Plugin: p.Name, Message: fmt.Sprintf("plugin %q is %s: %s", p.Name, p.Status, p.Problem)})
	}
}
