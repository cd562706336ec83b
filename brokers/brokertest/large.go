package brokertest

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

var largeCases = []testCase{
	{"several of the largest at once", func(e *env) {
		b := e.open()
		ts := e.tasks(6)
		for i := range ts {
			ts[i].Params = paramsOf(e.h.MaxParams, byte('a'+i))
			require.NoError(e.T, ts[i].Validate(), "the suite's own mistake")
		}
		require.NoError(e.T, b.Push(e.ctx(), ts))
		ds := byID(ts, e.lease(b, len(ts), long))
		for i := range ts {
			require.Equal(e.T, ts[i].ID, ds[i].Task.ID)
			require.True(e.T, bytes.Equal(ts[i].Params, ds[i].Task.Params), "parameters of %d bytes came back as %d bytes", len(ts[i].Params), len(ds[i].Task.Params))
		}
		ss := settlements(brokers.Retry, ds)
		ss[0].Verdict, ss[1].Verdict = brokers.Release, brokers.Bury
		lost, err := b.Settle(e.ctx(), ss)
		require.NoError(e.T, err)
		require.Empty(e.T, lost)
		e.settle(b, brokers.Done, e.lease(b, len(ts)-1, long)...)
		e.stats(b, brokers.Stats{Dead: 1})
	}},
}

// paramsOf returns parameters of exactly n bytes.
func paramsOf(n int, fill byte) json.RawMessage {
	const frame = `{"x":""}`
	return fmt.Appendf(nil, `{"x":"%s"}`, bytes.Repeat([]byte{fill}, n-len(frame)))
}
