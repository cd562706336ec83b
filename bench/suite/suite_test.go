package suite

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSlope(t *testing.T) {
	var looks []look
	for i := range 21 { // 1000 tasks at 50 a look, and a last look that comes late
		looks = append(looks, look{time.Duration(i) * 10 * time.Millisecond, int64(1000 - 50*i)})
	}
	looks[20].at = time.Minute
	got, err := slope(looks, 1000)
	require.NoError(t, err)
	require.InDelta(t, 5000, got, 1e-6)

	got, err = slope([]look{{0, 1000}, {10 * time.Millisecond, 900}, {20 * time.Millisecond, 0}}, 1000)
	require.NoError(t, err)
	require.InDelta(t, 90000, got, 1e-6, "of few looks the last one counts")

	got, err = slope([]look{{0, 1000}, {100 * time.Millisecond, 0}}, 1000)
	require.NoError(t, err)
	require.InDelta(t, 10000, got, 1e-6, "of two looks both count")

	_, err = slope([]look{{time.Second, 0}}, 1000)
	require.Error(t, err, "one look is no measurement")
}

func TestSpreadOf(t *testing.T) {
	s, ok := SpreadOf([]float64{3, 1, 2})
	require.True(t, ok)
	require.Equal(t, Spread{2, 1, 3}, s)
	s, _ = SpreadOf([]float64{4, 1, 2, 3})
	require.Equal(t, 2.5, s.Median)
	_, ok = SpreadOf(nil)
	require.False(t, ok)
}

func TestCasesAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		require.False(t, seen[c.Name], c.Name)
		seen[c.Name] = true
		require.NotEmpty(t, c.Title)
		arms, metrics := map[string]bool{}, map[string]bool{}
		for _, a := range c.Arms {
			require.False(t, arms[a.Name], "%s: %s", c.Name, a.Name)
			arms[a.Name] = true
			require.NotNil(t, a.Run)
			require.NotEmpty(t, a.Size)
		}
		for _, m := range c.Metrics {
			metrics[m.Name] = true
		}
		if c.Ref != "" {
			require.True(t, arms[c.Ref], "%s: the reference %s", c.Name, c.Ref)
		}
		for _, f := range c.Floors {
			require.True(t, arms[f.Arm] && metrics[f.Metric] && (f.To == "" || arms[f.To]), "%s: %+v", c.Name, f)
			require.True(t, f.Least > 0 || f.Most > 0)
		}
	}
}
