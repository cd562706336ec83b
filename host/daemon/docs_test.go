package daemon_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/daemon"
	"github.com/backplane/leptir/internal/testbin"
)

// Every configuration in the docs is one that the host accepts.
func TestConfigurationsInTheDocs(t *testing.T) {
	t.Parallel()
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(testbin.Root(), pattern))
		require.NoError(t, err)
		files = append(files, found...)
	}
	checked := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for i, part := range strings.Split(string(text), "```hcl\n")[1:] {
			source, _, ok := strings.Cut(part, "```")
			require.True(t, ok, "%s: block %d has no end", file, i+1)
			_, err := config.Parse([]byte(source), filepath.Base(file)+".hcl", daemon.Kinds())
			require.NoError(t, err, "%s: block %d", file, i+1)
			checked++
		}
	}
	require.Greater(t, checked, 4, "the docs show how each kind is configured")
}

var update = flag.Bool("update", false, "write the generated docs anew")

func TestConfigurationReference(t *testing.T) {
	t.Parallel()
	path := filepath.Join(testbin.Root(), "docs", "configuration.md")
	want := daemon.Reference(daemon.Kinds())
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "docs/configuration.md is out of date: go test ./host/daemon -update")
}
