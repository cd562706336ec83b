package ctl

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

func TestQueuePause(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoBrokers)
	b := s.broker("urgent")
	require.NoError(t, b.Push(t.Context(), []task.Task{{ID: "x", Type: "mailer.send", At: past}}))
	require.Equal(t, "urgent\nbulk\n", s.ok("queue", "pause", "urgent", "bulk"))
	ds, err := b.Lease(t.Context(), 1, 1e9)
	require.NoError(t, err)
	require.Empty(t, ds)
	require.Regexp(t, `^QUEUE   KIND    PRIORITY  STATE                             READY  SCHEDULED  LEASED  DEAD
urgent  sqlite  0         paused since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  1      0          0       0
bulk    sqlite  \d+ +paused since [-0-9: ]+ 0      0          0       0
$`, s.ok("queue", "list"))
	require.Contains(t, s.ok("status"), `queue "urgent" is paused: it hands out no tasks until leptirctl queue resume urgent`)
	status := object(t, s.ok("status", "-json"))
	require.Equal(t, true, status["brokers"].([]any)[0].(map[string]any)["paused"])
	listed := object(t, strings.SplitAfter(s.ok("queue", "list", "-json"), "\n")[0])
	require.Equal(t, true, listed["paused"])
	require.NotEmpty(t, listed["paused_since"])

	require.Equal(t, "urgent\n", s.ok("queue", "resume", "urgent"))
	require.NotContains(t, s.ok("status"), `queue "urgent" is paused`)
	require.Contains(t, s.ok("queue", "list"), "active")
	lease(t, b, 1)
	p, ok := s.broker("bulk").(brokers.Pauser)
	require.True(t, ok)
	since, err := p.Paused(t.Context())
	require.NoError(t, err)
	require.False(t, since.IsZero(), "the other stays paused")
}

func TestQueueUsage(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoBrokers)
	for _, c := range []struct{ args, want string }{
		{"queue", "say what to do: the commands are list, pause, resume"},
		{"queue pause", "pause needs the NAMEs of queues, which are those of brokers in the configuration"},
		{"queue resume nobody", `there is no broker "nobody"; the brokers are urgent, bulk`},
		{"queue list x", "x"},
	} {
		r := s.ctl(strings.Fields(c.args)...)
		require.Equal(t, exitUsage, r.code, c.args)
		require.Contains(t, r.stderr, c.want)
	}
	down := newSite(t, "broker \"redis\" \"down\" {\n  connection {\n    port = 1\n  }\n}\n")
	require.Equal(t, 1, down.ctl("queue", "pause", "down").code)
	r := down.ctl("queue", "list")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stdout, "down   redis")
}
