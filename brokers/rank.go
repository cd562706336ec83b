package brokers

import "slices"

// Weights returns, for brokers with the given priority numbers, the weight of each in the
// draw for the next task: brokers are sorted by priority number, equal numbers share a
// rank, ranks are 1, 2, 3, … without gaps, and the weight is 1/rank. A broker that has
// nothing due has weight 0, but keeps its rank. The result is in the order of the input.
//
// Source: rank selection of the original leptir, so that a less urgent queue still moves
// while an urgent one is full.
func Weights(priorities []int, due []bool) []float64 {
	distinct := slices.Clone(priorities)
	slices.Sort(distinct)
	distinct = slices.Compact(distinct)
	w := make([]float64, len(priorities))
	for i, p := range priorities {
		if !due[i] {
			continue
		}
		rank, _ := slices.BinarySearch(distinct, p)
		w[i] = 1 / float64(rank+1)
	}
	return w
}

// Draw returns the index of the broker that the number r in [0, 1) falls on, in proportion
// to the weights, and -1 if all are 0.
func Draw(weights []float64, r float64) int {
	var sum float64
	for _, w := range weights {
		sum += w
	}
	last := -1
	r *= sum
	for i, w := range weights {
		if w <= 0 {
			continue
		}
		last = i
		if r < w {
			return i
		}
		r -= w
	}
	return last // rounding left a crumb of r over
}

// ForPush returns the index of the broker that a task of the given priority goes to: the
// first, by ascending priority number, whose number is >= priority, else the last; of
// equal numbers the first in the order of the input. It returns -1 if there is none.
func ForPush(priorities []int, priority int) int {
	best, last := -1, -1
	for i, p := range priorities {
		if p >= priority && (best < 0 || p < priorities[best]) {
			best = i
		}
		if last < 0 || p > priorities[last] {
			last = i
		}
	}
	if best >= 0 {
		return best
	}
	return last
}
