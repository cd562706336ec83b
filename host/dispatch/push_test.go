package dispatch

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/internal/pluginpb"
)

func TestPusher(t *testing.T) {
	t.Parallel()
	urgent, usual := &watched{Broker: memorybroker.New()}, &watched{Broker: memorybroker.New()}
	set, err := brokers.NewSet(brokers.Named{Name: "urgent", Priority: 0, Broker: urgent}, brokers.Named{Name: "usual", Priority: 5, Broker: usual})
	require.NoError(t, err)
	p := NewPusher(set)
	var wg sync.WaitGroup
	ask := func(m *pluginpb.Push) (r *pluginpb.PushReply) {
		wg.Add(1)
		p.Push(m, func(got *pluginpb.PushReply) { r = got; wg.Done() })
		wg.Wait()
		return r
	}
	require.NotEmpty(t, ask(&pluginpb.Push{Task: &pluginpb.Task{Type: "a.b", MaxAttempts: 7}}).Id)
	ds, err := urgent.Lease(t.Context(), 1, time.Minute)
	require.NoError(t, err)
	require.Len(t, ds, 1)
	require.Equal(t, 7, ds[0].Task.MaxAttempts)
	require.Equal(t, "mine", ask(&pluginpb.Push{Task: &pluginpb.Task{Type: "a.b", Id: "mine", Priority: 3}}).Id)
	require.Equal(t, "mine", ask(&pluginpb.Push{Task: &pluginpb.Task{Type: "a.b", Id: "mine", Priority: 3}}).Id, "idempotent")
	for _, bad := range []*pluginpb.Push{nil, {}, {Task: &pluginpb.Task{Type: "a b"}}, {Task: &pluginpb.Task{Type: "a", Params: []byte("[]")}},
		{Task: &pluginpb.Task{Type: "a", TimeLimit: -7}}, {Task: &pluginpb.Task{Type: "a", Id: "a\nb"}}, {Task: &pluginpb.Task{Type: "a", MaxAttempts: -1}}, {Task: &pluginpb.Task{Type: "a", MaxAttempts: 1001}}} {
		require.NotEmpty(t, ask(bad).Error, "%v", bad)
	}
	// Many at once, one id twice among them: all are answered.
	var mu sync.Mutex
	ids := map[string]int{}
	for i := range 500 {
		wg.Add(1)
		p.Push(&pluginpb.Push{Task: &pluginpb.Task{Type: "a.b", Id: fmt.Sprint("n", i/2), Priority: 3}}, func(r *pluginpb.PushReply) {
			defer wg.Done()
			mu.Lock()
			defer mu.Unlock()
			ids[r.Id+r.Error]++
		})
	}
	wg.Wait()
	require.Len(t, ids, 250)
	st, err := usual.Stats(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 251, st.Ready)
	st, err = urgent.Stats(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, st.Leased)
	require.NoError(t, usual.Broker.Close())
	require.Contains(t, ask(&pluginpb.Push{Task: &pluginpb.Task{Type: "a.b", Priority: 9}}).Error, `broker "usual"`)
	p.Close()
	require.NoError(t, urgent.Broker.Close())
}
