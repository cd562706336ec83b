package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/testbin"
)

// The documentation has every reason for which a process can end.
func TestReasonsAreDocumented(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(testbin.Root(), "docs", "isolation.md"))
	require.NoError(t, err)
	rows := 0
	_, table, _ := strings.Cut(string(b), "## How a process ended")
	table, _, _ = strings.Cut(table, "\n## ")
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| `") {
			rows++
		}
	}
	require.Len(t, Reasons(), rows)
	for _, r := range Reasons() {
		require.Contains(t, table, "| `"+string(r)+"` |")
	}
}
