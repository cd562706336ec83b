package standard_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/metastore/standard"
)

func TestRegistry(t *testing.T) {
	t.Parallel()
	r := standard.Registry()
	require.Contains(t, r.Names(), "sqlite")
	for _, name := range r.Names() {
		k, ok := r.Kind(name)
		require.True(t, ok)
		require.NotEmpty(t, k.Doc, "kind %s", name)
		require.NotNil(t, k.New(), "kind %s", name)
		require.NotSame(t, k.New(), k.New(), "kind %s must make new settings for every block", name)
		require.Equal(t, name != "sqlite", k.Server, "kind %s: what lives in a server is waited for at the start", name)
	}
}
