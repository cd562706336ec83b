// Package standard names the kinds of back ends that the configuration of a stock host can
// have, for every program that reads one.
package standard

import (
	brokers "github.com/backplane/leptir/brokers/standard"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/logging"
	reports "github.com/backplane/leptir/host/report/standard"
	stores "github.com/backplane/leptir/metastore/standard"
)

// Kinds returns the kinds of back ends that a stock host knows.
func Kinds() config.Kinds {
	return config.Kinds{Brokers: brokers.Registry(), MetaStorages: stores.Registry(), Loggers: logging.Standard(),
		ErrorReporting: reports.Registry()}
}
