package brokers_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

func TestAddEvent(t *testing.T) {
	t.Parallel()
	var h []brokers.Event
	for i := range 3 * brokers.MaxHistory {
		h = brokers.AddEvent(h, brokers.Event{Attempt: i, Reason: fmt.Sprint(i)})
		require.Equal(t, i, h[len(h)-1].Attempt)
		require.Equal(t, min(i+1, brokers.MaxHistory), len(h))
	}
	require.Equal(t, 2*brokers.MaxHistory, h[0].Attempt, "the oldest fall off")
}

func TestAddEventCutsReasons(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"short", "short"},
		{strings.Repeat("x", brokers.MaxReasonBytes), strings.Repeat("x", brokers.MaxReasonBytes)},
		{strings.Repeat("x", brokers.MaxReasonBytes+1), strings.Repeat("x", brokers.MaxReasonBytes-3) + "…"},
		{"x" + strings.Repeat("ž", brokers.MaxReasonBytes), "x" + strings.Repeat("ž", (brokers.MaxReasonBytes-4)/2) + "…"},
	} {
		got := brokers.AddEvent(nil, brokers.Event{Reason: c.in})[0].Reason
		require.Equal(t, c.want, got)
		require.LessOrEqual(t, len(got), brokers.MaxReasonBytes)
		require.True(t, utf8.ValidString(got))
	}
}

func TestVerdictString(t *testing.T) {
	t.Parallel()
	for v, want := range map[brokers.Verdict]string{
		0: "no verdict", brokers.Done: "done", brokers.Retry: "retry", brokers.Release: "release", brokers.Bury: "bury", 9: "no verdict",
	} {
		require.Equal(t, want, v.String())
	}
}
