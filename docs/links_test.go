package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	code    = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// Every link from one page to another, or to a heading, leads somewhere. Pictures are left
// out: benchmarks make them.
func TestLinks(t *testing.T) {
	t.Parallel()
	root := ".."
	links := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "bin" || strings.HasPrefix(d.Name(), ".") && path != root):
			return fs.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(read(t, path), ""), -1) {
			page, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(page, ":") || filepath.Ext(page) == ".svg" {
				continue
			}
			links++
			target := path
			if page != "" {
				target = filepath.Join(filepath.Dir(path), page)
			}
			_, err := os.Stat(target)
			require.NoError(t, err, "%s: %s", path, m[1])
			if anchor != "" {
				require.Contains(t, anchors(t, target), anchor, "%s: %s", path, m[1])
			}
		}
		return nil
	}))
	require.Greater(t, links, 50)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// anchors returns the names by which a page's headings can be linked to.
func anchors(t *testing.T, path string) (names []string) {
	t.Helper()
	for _, m := range heading.FindAllStringSubmatch(read(t, path), -1) {
		names = append(names, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}
