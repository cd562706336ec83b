package lograte_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/lograte"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	const size = 1024 - 64
	var l lograte.Limiter
	for range lograte.Burst / 1024 {
		require.True(t, l.Allow(size, now))
	}
	require.Empty(t, l.Notice())
	require.False(t, l.Allow(size, now))
	require.False(t, l.Allow(0, now), "empty lines cost, too")
	l.Suppress()
	require.Equal(t, "(3 lines dropped: more than 256 KiB/s)", l.Notice())
	now = now.Add(time.Second)
	for range lograte.Rate / 1024 {
		require.True(t, l.Allow(size, now))
	}
	require.False(t, l.Allow(size, now))
	require.Equal(t, "(4 lines dropped: more than 256 KiB/s)", l.Notice())
	l.Told()
	require.Empty(t, l.Notice())
	now = now.Add(time.Hour)
	require.False(t, l.Allow(lograte.Burst, now), "no line is that long")
	for range lograte.Burst / 1024 {
		require.True(t, l.Allow(size, now), "no more than the burst is saved up")
	}
	require.False(t, l.Allow(size, now))
	require.False(t, l.Allow(size, now.Add(-time.Hour)), "clocks are set back")
	require.True(t, l.Allow(size, now.Add(time.Hour)))
}

func Example() {
	var l lograte.Limiter
	now := time.Now()
	logged := 0
	for range 10_000 {
		if l.Allow(200, now) {
			logged++
		}
	}
	fmt.Println(logged, l.Notice())
	// Output: 3971 (6029 lines dropped: more than 256 KiB/s)
}

// A flood shows as one whatever the length of its lines.
func TestFull(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, size := range []int{0, 1, 1000, 8 << 10} {
		var l lograte.Limiter
		require.False(t, l.Full(now))
		for l.Allow(size, now) {
		}
		require.True(t, l.Full(now), size)
		require.False(t, l.Full(now.Add(time.Second)))
	}
}
