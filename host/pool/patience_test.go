package pool

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/pluginpb"
)

// A plugin that talks on and on is read slower; results are always read at once.
func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		talk := &pluginpb.PluginMessage{Events: []*pluginpb.Event{{Kind: &pluginpb.Event_State{State: &pluginpb.State{State: 1}}}}}
		result := &pluginpb.PluginMessage{Events: append(talk.Events, &pluginpb.Event{Kind: &pluginpb.Event_Result{Result: &pluginpb.Result{}}})}
		var p patience
		took := func(n int, m *pluginpb.PluginMessage) time.Duration {
			begin := time.Now()
			for range n {
				p.heed(m)
			}
			return time.Since(begin)
		}
		require.Zero(t, took(talkMost, talk), "a lot at once is fine")
		require.InDelta(t, 5, took(5*talkPerSec, talk).Seconds(), 0.1)
		require.Zero(t, took(100_000, result))
		many := &pluginpb.PluginMessage{}
		for range 1000 * talkEvents {
			many.Events = append(many.Events, talk.Events...)
		}
		require.InDelta(t, 5, took(5*talkPerSec/1000, many).Seconds(), 0.1, "a message that tells of much is much talk")
		time.Sleep(time.Minute)
		require.Zero(t, took(talkMost, talk), "patience comes back")
	})
}
