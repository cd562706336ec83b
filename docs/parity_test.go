// Package docs_test checks what the docs say of the tests.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	testName = regexp.MustCompile("`([a-z0-9/-]+)\\.((?:Test|Example|Fuzz)\\w*)(?:/[^`]*)?`")
	declared = regexp.MustCompile(`(?m)^func ((?:Test|Example|Fuzz)\w*)\(`)
)

// Every row of the table says which tests prove it, and those tests exist.
func TestParity(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("parity.md")
	require.NoError(t, err)
	known := map[string]map[string]bool{} // by folder
	rows := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| the original") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		require.Len(t, cells, 4, line)
		names := testName.FindAllStringSubmatch(cells[3], -1)
		require.NotEmpty(t, names, "no test is named: %s", line)
		require.Len(t, names, strings.Count(cells[3], "`")/2, "something else than tests is named: %s", line)
		for _, m := range names {
			folder, name := m[1], m[2]
			if known[folder] == nil {
				known[folder] = testsOf(t, folder)
			}
			require.True(t, known[folder][name], "there is no %s in %s: %s", name, folder, line)
		}
	}
	require.Greater(t, rows, 45, "the rows of the original")
}

// testsOf returns the tests that a folder declares.
func testsOf(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	require.NoError(t, err)
	all := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			all[m[1]] = true
		}
	}
	return all
}
