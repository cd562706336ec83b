package config

import (
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/stretchr/testify/require"
)

func bytesFrom(start, end int) hcl.Range {
	return hcl.Range{Start: hcl.Pos{Byte: start}, End: hcl.Pos{Byte: end}}
}

func TestMerged(t *testing.T) {
	t.Parallel()
	ranges := merged([]hcl.Range{bytesFrom(20, 25), bytesFrom(2, 10), bytesFrom(4, 6), bytesFrom(8, 12), bytesFrom(15, 15), bytesFrom(12, 13)})
	require.Equal(t, []hcl.Range{bytesFrom(2, 13), bytesFrom(20, 25)}, ranges)
	for pos, want := range map[int]bool{0: false, 1: false, 2: true, 9: true, 12: true, 13: false, 15: false, 19: false, 20: true, 24: true, 25: false} {
		require.Equal(t, want, within(pos, ranges), pos)
	}
	require.False(t, within(0, nil))
}
