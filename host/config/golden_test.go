package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// TestMain sets the environment that the files of testdata ask for.
func TestMain(m *testing.M) {
	flag.Parse()
	for name, value := range map[string]string{
		"LEPTIR_TEST_PASSWORD": "hunter2",
		"LEPTIR_TEST_WORKERS":  "12",
		"LEPTIR_TEST_EMPTY":    "",
		"LEPTIR_TEST_TRUE":     "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// TestGood reads testdata/*.good.hcl and compares the whole configuration, as text, with
// the file of the same name that ends in .txt.
func TestGood(t *testing.T) {
	t.Parallel()
	for _, path := range goldenFiles(t, "*.good.hcl", 10) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			src, err := os.ReadFile(path)
			require.NoError(t, err)
			c, err := config.Parse(src, "/etc/leptir/leptir.hcl", testKinds())
			require.NoError(t, err)
			require.Equal(t, "/etc/leptir/leptir.hcl", c.Path)
			require.Equal(t, "/etc/leptir", c.Dir)
			if name, err := os.Hostname(); err == nil && c.Host.Name == name {
				c.Host.Name = "this-machine"
			}
			compare(t, path, c.String())
		})
	}
}

// TestBad reads testdata/*.bad.hcl and compares the error text with the file of the same
// name that ends in .txt.
func TestBad(t *testing.T) {
	t.Parallel()
	for _, path := range goldenFiles(t, "*.bad.hcl", 30) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			src, err := os.ReadFile(path)
			require.NoError(t, err)
			c, err := config.Parse(src, "leptir.hcl", testKinds())
			require.Nil(t, c)
			var e *config.Error
			require.True(t, errors.As(err, &e))
			require.NotContains(t, e.Error(), "hunter2", "a secret is shown")
			compare(t, path, e.Error()+"\n")
		})
	}
}

func goldenFiles(t *testing.T, pattern string, atLeast int) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(paths), atLeast)
	return paths
}

func compare(t *testing.T, path, got string) {
	t.Helper()
	golden := strings.TrimSuffix(path, ".hcl") + ".txt"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
		return
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err, "run the test with -update to write it")
	require.Equal(t, string(want), got)
}
