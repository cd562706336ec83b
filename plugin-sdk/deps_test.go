package sdk

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDependencies holds the SDK to what every plugin has to link: of this module the
// contract alone, and none of the libraries that the host needs.
func TestDependencies(t *testing.T) {
	t.Parallel()
	const module = "github.com/backplane/leptir/"
	ours := map[string]bool{
		module + "plugin-sdk":        true,
		module + "internal/pluginpb": true,
		module + "internal/protocol": true,
	}
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	deps := strings.Fields(string(out))
	require.Contains(t, deps, "google.golang.org/grpc")
	for _, d := range deps {
		if strings.HasPrefix(d, module) {
			require.True(t, ours[d], "the SDK must not import %s", d)
			continue
		}
		for _, host := range []string{"hashicorp/hcl", "redis", "mongo", "aws", "sqlite", "prometheus", "opentelemetry", "fsnotify", "sentry", "testify",
			// What takes time at every start of a process: see docs/adr/0008.
			"hashicorp/go-plugin", "hashicorp/go-hclog", "net/rpc", "encoding/gob", "grpc/reflection", "protodesc"} {
			require.NotContains(t, d, host, "the SDK must not import %s", d)
		}
	}
}
