package brokertest

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

// garbage are messages that no leptir can read. Some queues take only text.
var (
	garbageText   = []byte(`{"v":1,"id":"broken","type":"suite.test","params":{`)
	garbageBinary = []byte("\xff\x00\xfe\x80 not text \x00")
)

var unreadableCases = []testCase{
	{"text", func(e *env) { unreadable(e, garbageText) }},
	{"binary", func(e *env) { unreadable(e, garbageBinary) }},
	{"a version of tomorrow", func(e *env) { unreadable(e, []byte(`{"v":999,"id":"x","type":"suite.test"}`)) }},
	{"many do not hide the good ones", func(e *env) {
		inject(e, garbageText)
		b := e.open()
		t := e.push(b, 1)[0]
		for i := range 20 {
			inject(e, fmt.Appendf(nil, "rubbish %d", i))
		}
		found := false
		ds := e.lease(b, 22, long)
		for _, d := range ds {
			if d.Unreadable == nil {
				require.Equal(e.T, t.ID, d.Task.ID)
				found = true
			}
		}
		require.True(e.T, found)
		e.settle(b, brokers.Bury, ds...)
		e.stats(b, brokers.Stats{Dead: 22})
	}},
}

func inject(e *env, raw []byte) {
	if e.q.InjectRaw == nil {
		e.Skip("the harness has no InjectRaw")
	}
	e.q.InjectRaw(e.T, raw)
}

func unreadable(e *env, raw []byte) {
	inject(e, raw)
	b := e.open()
	d := e.lease1(b, long)
	require.Error(e.T, d.Unreadable)
	require.Equal(e.T, raw, d.Raw)
	require.NoError(e.T, d.Task.ID.Validate(), "an unreadable message needs an id by which it can be handled")
	require.Empty(e.T, d.Task.Type)
	require.Equal(e.T, 1, d.Attempt)
	lost, err := b.Extend(e.ctx(), long, []brokers.Delivery{d})
	require.NoError(e.T, err)
	require.Empty(e.T, lost)
	e.settle1(b, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Bury, Reason: d.Unreadable.Error()})
	e.leaseNone(b)
	e.stats(b, brokers.Stats{Dead: 1})

	i, ok := b.(brokers.Inspector)
	if !ok {
		return
	}
	items, next, err := i.List(e.ctx(), brokers.StateDead, "", 10)
	require.NoError(e.T, err)
	require.Empty(e.T, next)
	require.Len(e.T, items, 1)
	require.Equal(e.T, d.Task.ID, items[0].ID)
	require.Equal(e.T, raw, items[0].Raw)
	require.Empty(e.T, items[0].Task.Type)
	require.Equal(e.T, d.Unreadable.Error(), items[0].History[len(items[0].History)-1].Reason)

	missing, err := i.Requeue(e.ctx(), leasedIDs([]brokers.Delivery{d}))
	require.NoError(e.T, err)
	require.Empty(e.T, missing)
	again := e.lease1(b, long)
	require.Error(e.T, again.Unreadable)
	require.Equal(e.T, raw, again.Raw)
	require.Equal(e.T, d.Task.ID, again.Task.ID)
	e.settle(b, brokers.Done, again)
	e.empty(b)
}
