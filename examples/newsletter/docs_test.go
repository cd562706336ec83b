package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocs has every piece of Go of docs/writing-tasks.md stand in one of the examples, so
// that the page shows nothing that does not work.
func TestDocs(t *testing.T) {
	t.Parallel()
	var sources strings.Builder
	files, err := filepath.Glob("../*/*.go")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		sources.WriteString(flat(string(text)))
	}
	page, err := os.ReadFile("../../docs/writing-tasks.md")
	require.NoError(t, err)
	blocks := strings.Split(string(page), "```go\n")[1:]
	require.GreaterOrEqual(t, len(blocks), 8)
	for _, block := range blocks {
		code, _, ok := strings.Cut(block, "```")
		require.True(t, ok)
		for _, part := range strings.Split(code, "\n\n") { // declarations need not stand in this order
			require.Contains(t, sources.String(), flat(part), "it is in no example")
		}
	}
}

// flat is a text without its indentation and empty lines.
func flat(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
