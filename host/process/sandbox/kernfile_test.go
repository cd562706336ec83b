package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKernelFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	_, err := readKernel(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, path)
	require.ErrorIs(t, writeKernel(path, "1"), os.ErrNotExist, "it makes no file")
	for _, size := range []int{0, 1, 511, 512, 513, 100_000} {
		want := strings.Repeat("x", size)
		require.NoError(t, os.WriteFile(path, []byte(want), 0o600))
		got, err := readKernel(path)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	require.NoError(t, writeKernel(path, "y"))
	_, err = readKernel(filepath.Dir(path))
	require.ErrorContains(t, err, "read "+filepath.Dir(path))
	want, err := os.ReadFile("/proc/self/limits")
	require.NoError(t, err)
	got, err := readKernel("/proc/self/limits")
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
	require.Error(t, writeKernel("/proc/self/limits", "1"))
}
