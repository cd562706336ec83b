package suite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/backplane/leptir/bench/rig"
)

const (
	// lookEvery is how often it is counted what is left. Counting takes away from what is
	// measured, a little, so it is not often.
	lookEvery = 30 * time.Millisecond
	// stall is how long nothing may happen.
	stall = 30 * time.Second
)

// look is how many tasks were left at a time.
type look struct {
	at   time.Duration
	left int64
}

// drain waits until nothing is left of n tasks and returns how many a second were settled,
// from a tenth of them on until the last look that found some.
func drain(ctx context.Context, n int, remaining func(context.Context) (int64, error)) (float64, error) {
	return drainTo(ctx, n, 0, remaining)
}

// drainTo is drain down to a number that is left.
func drainTo(ctx context.Context, n int, until int64, remaining func(context.Context) (int64, error)) (float64, error) {
	begin := time.Now()
	var looks []look
	moved := begin
	for {
		// The count stands somewhere within the call.
		before := time.Since(begin)
		left, err := remaining(ctx)
		if err != nil {
			return 0, err
		}
		l := look{(before + time.Since(begin)) / 2, left}
		if len(looks) > 0 && looks[len(looks)-1].left != left {
			moved = time.Now()
		}
		looks = append(looks, l)
		if left <= until {
			return slope(looks, int64(n))
		}
		if time.Since(moved) > stall {
			return 0, fmt.Errorf("%d of %d tasks are left, and nothing happens any more", left, n)
		}
		if err := rig.Wait(ctx, lookEvery); err != nil {
			return 0, err
		}
	}
}

// settled waits until nothing is left.
func settled(ctx context.Context, remaining func(context.Context) (int64, error)) error {
	for {
		left, err := remaining(ctx)
		if err != nil || left == 0 {
			return err
		}
		if err := rig.Wait(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// slope returns tasks a second.
func slope(looks []look, n int64) (float64, error) {
	first := slices.IndexFunc(looks, func(l look) bool { return l.left <= n-n/10 })
	if first < 0 {
		return 0, errors.New("more was left in the end than at first")
	}
	// The last look can have come long after the end; the one before it cannot, but where
	// looks are few it is the better one.
	last := len(looks) - 1
	if last-first >= 5 {
		last--
	}
	if first == last && first > 0 {
		first--
	}
	a, b := looks[first], looks[last]
	if b.at <= a.at || a.left <= b.left {
		return 0, fmt.Errorf("%d tasks were too few to measure: done within %v", n, looks[last].at)
	}
	return float64(a.left-b.left) / (b.at - a.at).Seconds(), nil
}
