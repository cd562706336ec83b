package brokers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
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

func TestCancellationText(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
	for _, c := range []struct {
		in   brokers.Cancellation
		want brokers.Cancellation
	}{
		{brokers.Cancellation{At: at, Grace: time.Second, Reason: "no"}, brokers.Cancellation{At: at, Grace: time.Second, Reason: "no"}},
		{brokers.Cancellation{Grace: -time.Second}, brokers.Cancellation{}},
		{brokers.Cancellation{Grace: 1 << 62}, brokers.Cancellation{Grace: brokers.MaxGrace}},
		{brokers.Cancellation{Reason: strings.Repeat("x", 5000)}, brokers.Cancellation{Reason: strings.Repeat("x", brokers.MaxReasonBytes-3) + "…"}},
	} {
		text, err := c.in.Encode()
		require.NoError(t, err)
		require.Equal(t, c.want, brokers.DecodeCancellation(text))
	}
	require.NotEmpty(t, brokers.DecodeCancellation("\xff{").Reason, "rubbish is a cancellation all the same")
}

func FuzzDecodeCancellation(f *testing.F) {
	f.Add(`{"at":"2026-03-04T05:06:07Z","grace":1000,"reason":"no"}`)
	f.Add(`{"grace":-1}`)
	f.Fuzz(func(t *testing.T, text string) {
		c := brokers.DecodeCancellation(text)
		require.GreaterOrEqual(t, c.Grace, time.Duration(0))
		require.LessOrEqual(t, c.Grace, brokers.MaxGrace)
		require.LessOrEqual(t, len(c.Reason), brokers.MaxReasonBytes)
	})
}
