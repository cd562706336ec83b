package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShort(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a text", short("a text"))
	require.Equal(t, strings.Repeat("é", 60), short(strings.Repeat("é", 60)))
	require.Equal(t, strings.Repeat("é", 60)+"…", short(strings.Repeat("é", 61)))
	require.Equal(t, strings.Repeat("蝶", 60)+"…", short(strings.Repeat("蝶", 1000)))
}
