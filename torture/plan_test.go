package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func anything(Kind) bool { return true }

func TestPlanIsRepeatable(t *testing.T) {
	t.Parallel()
	plan := func(seed uint64) []Fault { return newPlan(seed, 200, 3, 3*time.Second, 400*time.Second, anything) }
	require.Equal(t, plan(1), plan(1))
	require.NotEqual(t, plan(1), plan(2))
	require.Equal(t, workload(1, 500), workload(1, 500))
	require.NotEqual(t, workload(1, 500), workload(2, 500))
}

func TestPlanHasAllAndOverlapsInNoLane(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		plan := newPlan(seed, 200, 3, 3*time.Second, 400*time.Second, anything)
		require.Len(t, plan, 200)
		seen := map[Kind]bool{}
		until := map[string]time.Duration{}
		for i, f := range plan {
			seen[f.Kind] = true
			if i > 0 {
				require.GreaterOrEqual(t, f.At, plan[i-1].At)
			}
			require.GreaterOrEqual(t, f.At, until[f.lane()], "%v begins before the one before it in its lane ends", f)
			until[f.lane()] = f.At + f.For
			require.True(t, f.Host >= all && f.Host < 3)
			require.LessOrEqual(t, f.For, 9*time.Second)
		}
		require.Len(t, seen, len(kinds))
	}
}

func TestPlanKeepsToWhatThereIs(t *testing.T) {
	t.Parallel()
	plan := newPlan(1, 50, 1, time.Second, time.Minute, func(k Kind) bool { return k == HostKill || k == StoreFull })
	for _, f := range plan {
		require.Contains(t, []Kind{HostKill, StoreFull}, f.Kind)
	}
	require.Empty(t, newPlan(1, 50, 1, time.Second, time.Minute, func(Kind) bool { return false }))
}

func TestWorkloadHasEveryKind(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for _, o := range workload(3, 2000) {
		seen[o.kind]++
		tk, err := o.task(time.Now())
		require.NoError(t, err)
		require.NoError(t, tk.Validate())
	}
	require.Len(t, seen, 7)
}
