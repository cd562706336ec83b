package pool

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// How many tasks share a window, and how many more are wanted, by how long they take.
func TestWindowsByNeed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		need        time.Duration
		room, ahead int
	}{
		{0, windowMax, windowMax},
		{100 * time.Microsecond, windowMax, 250},
		{time.Millisecond, 100, 25},
		{10 * time.Millisecond, 10, 2},
		{11 * time.Millisecond, 1, 0}, // others would be called back from behind it
		{time.Hour, 1, 0},
	} {
		var e estimate
		e.add(c.need)
		require.Equal(t, c.room, e.room(), c.need)
		require.Equal(t, c.ahead, e.ahead(), c.need)
	}
	var unknown estimate
	require.Equal(t, 1, unknown.room())
	require.Zero(t, unknown.ahead())
}
