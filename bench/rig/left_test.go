package rig

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

func TestLeftIsWhatRemains(t *testing.T) {
	ctx := t.Context()
	h := &Host{dir: t.TempDir()}
	settings := `broker "sqlite" "b0" {
  path = "b0.db"
}
meta_storage "sqlite" "records" {
  path = "b0.db"
}`
	require.NoError(t, h.open(ctx, settings, SQLite))
	defer func() { require.NoError(t, h.Close()) }()
	same := func(want int64) {
		t.Helper()
		left, err := h.Left(ctx)
		require.NoError(t, err)
		require.Equal(t, want, left)
		remaining, err := h.Remaining(ctx)
		require.NoError(t, err)
		require.Equal(t, want, remaining)
	}
	same(0)
	_, err := h.Push(ctx, "bench.noop", nil, 2500)
	require.NoError(t, err)
	same(2500)
	for left := int64(2500); left > 0; {
		ds, err := h.Queue.Lease(ctx, 700, time.Minute)
		require.NoError(t, err)
		same(left)
		var ss []brokers.Settlement
		for _, d := range ds[:len(ds)/2] {
			ss = append(ss, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done})
		}
		_, err = h.Queue.Settle(ctx, ss)
		require.NoError(t, err)
		left -= int64(len(ss))
		same(left)
		ss = ss[:0]
		for _, d := range ds[len(ds)/2:] {
			ss = append(ss, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done})
		}
		_, err = h.Queue.Settle(ctx, ss)
		require.NoError(t, err)
		left -= int64(len(ss))
	}
	same(0)
}
