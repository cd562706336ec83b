// Package standard has the kinds of error reporters of a stock host.
package standard

import (
	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/host/report/log"
	"github.com/backplane/leptir/host/report/plugin"
	"github.com/backplane/leptir/host/report/sentry"
	"github.com/backplane/leptir/host/report/webhook"
)

// Registry returns the registry of them.
func Registry() *report.Registry {
	return report.NewRegistry(log.Kind(), webhook.Kind(), sentry.Kind(), plugin.Kind())
}
