package brokers_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

func all(n int) []bool {
	due := make([]bool, n)
	for i := range due {
		due[i] = true
	}
	return due
}

func TestWeights(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		priorities []int
		due        []bool
		want       []float64
	}{
		{"none", nil, nil, []float64{}},
		{"one", []int{7}, all(1), []float64{1}},
		{"ranks have no gaps", []int{1, 2, 5, 11}, all(4), []float64{1, 1. / 2, 1. / 3, 1. / 4}},
		{"in the order of the input", []int{11, 1, 5, 2}, all(4), []float64{1. / 4, 1, 1. / 3, 1. / 2}},
		{"equal numbers share a rank", []int{3, 0, 3, 0, 9}, all(5), []float64{1. / 2, 1, 1. / 2, 1, 1. / 3}},
		{"all equal", []int{0, 0, 0}, all(3), []float64{1, 1, 1}},
		{"negative numbers", []int{0, -5, 5}, all(3), []float64{1. / 2, 1, 1. / 3}},
		{"an empty one weighs nothing and keeps its rank", []int{1, 2, 5, 11}, []bool{true, false, true, false}, []float64{1, 0, 1. / 3, 0}},
		{"all empty", []int{1, 2}, []bool{false, false}, []float64{0, 0}},
	} {
		require.Equal(t, c.want, brokers.Weights(c.priorities, c.due), c.name)
	}
}

func TestWeightsLeavesItsInputAlone(t *testing.T) {
	t.Parallel()
	priorities := []int{5, 1, 3}
	brokers.Weights(priorities, all(3))
	require.Equal(t, []int{5, 1, 3}, priorities)
}

// draws counts how often each broker is drawn.
func draws(weights []float64, n int) []int {
	rng := rand.New(rand.NewPCG(1, 2))
	counts := make([]int, len(weights))
	for range n {
		counts[brokers.Draw(weights, rng.Float64())]++
	}
	return counts
}

func TestDrawFollowsRanks(t *testing.T) {
	t.Parallel()
	const n = 10_000
	for _, c := range []struct {
		priorities []int
		due        []bool
	}{
		{[]int{1, 2, 5, 11}, all(4)},
		{[]int{11, 5, 2, 1}, all(4)},
		{[]int{1, 2, 5, 11}, []bool{false, true, true, true}},
		{[]int{1, 1, 2}, all(3)},
		{[]int{0}, all(1)},
	} {
		weights := brokers.Weights(c.priorities, c.due)
		var sum float64
		for _, w := range weights {
			sum += w
		}
		for i, got := range draws(weights, n) {
			p := weights[i] / sum
			if p == 0 {
				require.Zero(t, got, "%v: an empty broker was drawn", c)
				continue
			}
			// Four standard deviations of a binomial draw.
			require.InDelta(t, n*p, got, 4*math.Sqrt(n*p*(1-p))+1, "%v: broker %d", c, i)
		}
	}
}

func TestDraw(t *testing.T) {
	t.Parallel()
	w := []float64{0, 1, 0, 0.5, 0.5, 0}
	for r, want := range map[float64]int{0: 1, 0.4999: 1, 0.5: 3, 0.7499: 3, 0.75: 4, 0.9999: 4, math.Nextafter(1, 0): 4} {
		require.Equal(t, want, brokers.Draw(w, r), "r=%v", r)
	}
	require.Equal(t, -1, brokers.Draw(nil, 0.5))
	require.Equal(t, -1, brokers.Draw([]float64{0, 0}, 0.5))
	require.Equal(t, 1, brokers.Draw([]float64{0, 1e-300}, 0.5))
}

func TestForPush(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		priorities []int
		want       map[int]int // by the priority of the push, the number of the broker
	}{
		{[]int{1, 2, 5, 11}, map[int]int{-1: 1, 1: 1, 2: 2, 3: 5, 4: 5, 5: 5, 6: 11, 12: 11}},
		{[]int{11, 2, 1, 5}, map[int]int{-1: 1, 1: 1, 2: 2, 3: 5, 4: 5, 5: 5, 6: 11, 12: 11}},
		{[]int{0}, map[int]int{-7: 0, 0: 0, 7: 0}},
		{[]int{-3, 0}, map[int]int{-4: -3, -3: -3, -2: 0, 0: 0, 1: 0}},
	} {
		for priority, want := range c.want {
			require.Equal(t, want, c.priorities[brokers.ForPush(c.priorities, priority)], "priority %d to %v", priority, c.priorities)
		}
	}
	require.Equal(t, -1, brokers.ForPush(nil, 0))
	require.Equal(t, 1, brokers.ForPush([]int{9, 2, 2, 1}, 2), "of equal ones the first")
	require.Equal(t, 0, brokers.ForPush([]int{9, 9}, 10), "of equal ones the first, also as the last resort")
}

func FuzzDraw(f *testing.F) {
	f.Add(uint64(1), 3, 0.5)
	f.Fuzz(func(t *testing.T, seed uint64, n int, r float64) {
		if n < 0 || n > 100 || !(r >= 0 && r < 1) {
			return
		}
		rng := rand.New(rand.NewPCG(seed, 0))
		priorities, due := make([]int, n), make([]bool, n)
		any := false
		for i := range n {
			priorities[i], due[i] = rng.IntN(10)-5, rng.IntN(2) == 0
			any = any || due[i]
		}
		i := brokers.Draw(brokers.Weights(priorities, due), r)
		if any {
			require.True(t, i >= 0 && due[i], "drew %d of %v", i, due)
		} else {
			require.Equal(t, -1, i)
		}
	})
}

func ExampleWeights() {
	// Three brokers: two urgent ones, of which one is empty, and a lesser one.
	w := brokers.Weights([]int{1, 1, 10}, []bool{true, false, true})
	fmt.Println(w)
	fmt.Println(brokers.Draw(w, 0.1), brokers.Draw(w, 0.9))
	// Output:
	// [1 0 0.5]
	// 0 2
}

func ExampleForPush() {
	priorities := []int{1, 5, 10}
	for _, p := range []int{0, 2, 5, 99} {
		fmt.Println("priority", p, "goes to the broker with", priorities[brokers.ForPush(priorities, p)])
	}
	// Output:
	// priority 0 goes to the broker with 1
	// priority 2 goes to the broker with 5
	// priority 5 goes to the broker with 5
	// priority 99 goes to the broker with 10
}
