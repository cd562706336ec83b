package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	brokerkinds "github.com/backplane/leptir/brokers/standard"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/logging"
	reporters "github.com/backplane/leptir/host/report/standard"
	storekinds "github.com/backplane/leptir/metastore/standard"
)

// TestStandardKinds decodes every attribute of every kind of a stock host, each at its
// default: a tag that the decoder does not understand, or a default beyond its own limits,
// shows here.
func TestStandardKinds(t *testing.T) {
	t.Parallel()
	kinds := config.Kinds{Brokers: brokerkinds.Registry(), MetaStorages: storekinds.Registry(), Loggers: logging.Standard(), ErrorReporting: reporters.Registry()}
	needed := map[string]string{ // what a kind cannot do without
		"sqs":  `connection { sqs_queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks" }`,
		"file": `path = "leptir.log"`,

		"webhook": `url = "https://example.org/hook"`,
		"sentry":  `dsn = "https://key@example.org/1"`,
		"plugin":  `plugin = "reporter"`,
	}
	var b strings.Builder
	for block, names := range map[string][]string{"broker": kinds.Brokers.Names(), "meta_storage": kinds.MetaStorages.Names(), "logger": kinds.Loggers.Names(),
		"error_reporting": kinds.ErrorReporting.Names()} {
		for _, name := range names {
			fmt.Fprintf(&b, "%s %q %q {\n%s\n}\n", block, name, name, needed[name])
		}
	}
	b.WriteString("plugin \"p\" {}\n")
	c, err := config.Parse([]byte(b.String()), "/etc/leptir/leptir.hcl", kinds)
	require.NoError(t, err)
	again, err := config.Parse([]byte(c.String()), "/etc/leptir/leptir.hcl", kinds)
	require.NoError(t, err)
	require.Equal(t, c.String(), again.String())
}

// TestStandardKindsAreDocumented keeps the reference of a stock host complete.
func TestStandardKindsAreDocumented(t *testing.T) {
	t.Parallel()
	docs := config.Describe(config.Kinds{Brokers: brokerkinds.Registry(), MetaStorages: storekinds.Registry(), Loggers: logging.Standard(), ErrorReporting: reporters.Registry()})
	for _, d := range docs {
		requireDocumented(t, d)
	}
}
