package sdk

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// All that an author can call of a task is documented and has an example that runs.
func TestHelpersHaveExamples(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, file)
	}
	pkg, err := doc.NewFromFiles(fset, files, "github.com/backplane/leptir/plugin-sdk")
	require.NoError(t, err)
	// These are shown by the example of ID.
	together := map[string]bool{"Type": true, "Attempt": true, "Priority": true, "TimeLimit": true, "TraceParent": true}
	seen := 0
	for _, typ := range pkg.Types {
		require.NotEmpty(t, typ.Doc, "type %s", typ.Name)
		switch typ.Name {
		case "BeforeStarter", "AfterFinisher", "MetaInfoer", "Reverter":
			require.NotEmpty(t, typ.Examples, "type %s has no example", typ.Name)
		case "BaseTask":
			for _, m := range typ.Methods {
				require.NotEmpty(t, m.Doc, "method %s", m.Name)
				if !together[m.Name] {
					require.NotEmpty(t, m.Examples, "method %s has no example", m.Name)
				}
				seen++
			}
		}
	}
	require.Greater(t, seen, 25)
	for _, f := range pkg.Funcs {
		require.NotEmpty(t, f.Doc, "function %s", f.Name)
	}
}
