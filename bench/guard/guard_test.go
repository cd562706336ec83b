package guard

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// costs gives every path the same cost.
func costs(c Cost) Baseline {
	b := Baseline{Costs: map[string]Cost{}}
	for _, p := range paths() {
		b.Costs[p.name] = c
	}
	return b
}

func TestCompare(t *testing.T) {
	var out bytes.Buffer
	old := costs(Cost{Allocs: 10, Bytes: 1000})
	require.Empty(t, compare(&out, old, old))
	require.Empty(t, compare(&out, old, costs(Cost{Allocs: 11.4, Bytes: 1140})), "below 15 %")
	require.Empty(t, compare(&out, old, costs(Cost{Allocs: 1, Bytes: 1})))

	for _, c := range []struct {
		now  Cost
		want string
	}{{Cost{12, 1000}, "codec, decode: 12.00 allocations for each task, 10.00 before"}, {Cost{10, 1300}, "codec, decode: 1300 bytes for each task, 1000 before"}} {
		now := costs(Cost{Allocs: 10, Bytes: 1000})
		now.Costs["codec, decode"] = c.now
		require.Equal(t, []string{c.want}, compare(&out, old, now))
	}
	missing := costs(Cost{Allocs: 10, Bytes: 1000})
	delete(missing.Costs, "dispatch")
	require.Equal(t, []string{"dispatch: not in the baseline"}, compare(&out, missing, old))
	require.Contains(t, out.String(), "broker redis, push")
}

// The codec needs no surroundings: what it allocates is counted as it is.
func TestCounts(t *testing.T) {
	a, err := least(t.Context(), nil, path{"codec, encode", encode})
	require.NoError(t, err)
	b, err := least(t.Context(), nil, path{"codec, encode", encode})
	require.NoError(t, err)
	require.Greater(t, a.Allocs, 0.9)
	require.InDelta(t, a.Allocs, b.Allocs, 0.5)
}

func TestBaselineIsThere(t *testing.T) {
	b, err := read()
	require.NoError(t, err)
	require.Positive(t, b.LeastRatio)
	for _, p := range paths() {
		require.Positive(t, b.Costs[p.name].Allocs, p.name)
	}
}
