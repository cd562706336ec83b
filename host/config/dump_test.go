package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
)

// TestStringRoundTrip reads what String writes of the good files, and finds the same
// configuration: the text is complete, and a valid file. Secrets come back as asterisks,
// which String writes as asterisks again.
func TestStringRoundTrip(t *testing.T) {
	t.Parallel()
	for _, path := range goldenFiles(t, "*.good.hcl", 10) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			src, err := os.ReadFile(path)
			require.NoError(t, err)
			c, err := config.Parse(src, "/etc/leptir/leptir.hcl", testKinds())
			require.NoError(t, err)
			again, err := config.Parse([]byte(c.String()), "/elsewhere/leptir.hcl", testKinds())
			require.NoError(t, err)
			require.Equal(t, c.String(), again.String())
		})
	}
}

// TestNothingPrintsSecrets prints a configuration in every way there is.
func TestNothingPrintsSecrets(t *testing.T) {
	t.Parallel()
	c, err := config.Parse([]byte(`
		broker "server" "main" {
			uri     = "hunter2"
			headers = { A = "hunter2" }
			keys    = ["hunter2"]
			tokens  = ["hunter2"]
			connection { password = "hunter2" }
		}
		plugin "demo" { environment = { PASSWORD = "hunter2" } }
	`), "leptir.hcl", testKinds())
	require.NoError(t, err)
	require.Equal(t, "hunter2", c.Brokers[0].Settings.(*serverBroker).URI.Reveal())
	require.Equal(t, "hunter2", c.Plugin("demo").Environment["PASSWORD"])
	for _, verb := range []string{"%v", "%+v", "%s"} {
		require.NotContains(t, fmt.Sprintf(verb, c), "hunter2")
		require.Contains(t, fmt.Sprintf(verb, c), `tokens                  = ["***"]`)
	}
}
