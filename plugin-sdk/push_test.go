package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

func (h *testHost) nextPush() *pluginpb.Push {
	h.t.Helper()
	p := h.next().GetPush()
	require.NotNil(h.t, p)
	return p
}

func (h *testHost) reply(r *pluginpb.PushReply) {
	h.t.Helper()
	h.send(&pluginpb.HostMessage{PushReplies: []*pluginpb.PushReply{r}})
}

func TestPush(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	h := newTestHost(t, each("t.push", func(ctx context.Context, b *BaseTask) error {
		id, err := b.Push(ctx, NewTask{Type: "t.other", ID: "mine", Params: map[string]int{"n": 1}, Priority: 2, TimeLimit: time.Minute, At: at, MaxAttempts: 7})
		if err != nil {
			return err
		}
		b.AddResponseLine(id)
		type key struct{}
		id, err = Push(context.WithValue(ctx, key{}, 1), NewTask{Type: "t.other"})
		b.AddResponseLine(id)
		return err
	}))
	h.run(taskOf("t.push", "a"))
	p := h.nextPush()
	require.Equal(t, "a", p.Id)
	require.Equal(t, "mine", p.Task.Id)
	require.Equal(t, "t.other", p.Task.Type)
	require.JSONEq(t, `{"n":1}`, string(p.Task.Params))
	require.Equal(t, int32(2), p.Task.Priority)
	require.Equal(t, int64(time.Minute), p.Task.TimeLimit)
	require.Equal(t, at.UnixNano(), p.At)
	require.Equal(t, int32(7), p.Task.MaxAttempts)
	h.reply(&pluginpb.PushReply{Seq: p.Seq + 100, Id: "nobody waits for it"})
	h.reply(&pluginpb.PushReply{Seq: p.Seq, Id: "mine"})
	h.reply(&pluginpb.PushReply{Seq: p.Seq, Id: "twice"})
	p = h.nextPush()
	require.Empty(t, p.Task.Params)
	require.Zero(t, p.At)
	h.reply(&pluginpb.PushReply{Seq: p.Seq, Error: "the queue is full"})
	r, _ := h.result()
	require.Equal(t, []string{"mine", "", "push task t.other: host: the queue is full"}, r.Response)
}

func TestPushByManyGoroutines(t *testing.T) {
	t.Parallel()
	const n = 50
	h := newTestHost(t, each("t.push", func(ctx context.Context, b *BaseTask) error {
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				want := fmt.Sprint("id", i)
				if id, err := b.Push(ctx, NewTask{Type: "t.other", ID: want}); err != nil || id != want {
					errs[i] = fmt.Errorf("%q, want %q: %w", id, want, err)
				}
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	}))
	h.run(taskOf("t.push", "a"))
	var replies []*pluginpb.PushReply
	for range n {
		p := h.nextPush()
		replies = append([]*pluginpb.PushReply{{Seq: p.Seq, Id: p.Task.Id}}, replies...) // in another order
	}
	h.send(&pluginpb.HostMessage{PushReplies: replies})
	r, _ := h.result()
	require.Equal(t, int32(1), r.ReturnCode, "%v", r.Response)
}

func TestPushWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	h := newTestHost(t,
		each("t.own", func(ctx context.Context, b *BaseTask) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			defer cancel()
			_, err := b.Push(ctx, NewTask{Type: "t.other"})
			return err
		}),
		each("t.background", func(_ context.Context, b *BaseTask) error {
			_, err := b.Push(context.Background(), NewTask{Type: "t.other"})
			return err
		}))
	h.run(taskOf("t.own", "a"), taskOf("t.background", "b"))
	r, _ := h.result()
	require.Equal(t, "push task t.other: no answer from the host: context deadline exceeded", r.Failure.Message)
	h.nextPush()
	h.send(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: "b", Reason: "drain"}})
	r, _ = h.result()
	require.Equal(t, "push task t.other: no answer from the host: the task was cancelled: drain", r.Failure.Message)
}

func TestPushIsChecked(t *testing.T) {
	t.Parallel()
	for want, n := range map[string]NewTask{
		`task type ""`:                       {},
		`task type "a b"`:                    {Type: "a b"},
		"time limit -1ns is negative":        {Type: "t.x", TimeLimit: -1},
		"-1 attempts: they can be 1 to 1000": {Type: "t.x", MaxAttempts: -1},
		"1001 attempts":                      {Type: "t.x", MaxAttempts: 1001},
		"task id is 129 bytes":               {Type: "t.x", ID: strings.Repeat("x", 129)},
		"parameters: json: unsupported type": {Type: "t.x", Params: func() {}},
		"parameters are not a JSON object":   {Type: "t.x", Params: []int{1}},
		"parameters are 1048":                {Type: "t.x", Params: map[string]string{"p": strings.Repeat("x", MaxParamsBytes)}},
		"the task runs without a host":       {Type: "t.x"},
	} {
		_, err := new(BaseTask).Push(context.Background(), n)
		require.ErrorContains(t, err, want)
	}
	_, err := Push(context.Background(), NewTask{Type: "t.x"})
	require.ErrorContains(t, err, "the context is not that of a task")

	for _, params := range []any{nil, json.RawMessage(nil), json.RawMessage("null"), []byte(" "), (*struct{})(nil)} {
		m, err := (&NewTask{Type: "t.x", Params: params}).message()
		require.NoError(t, err)
		require.Empty(t, m.Params)
	}
	_, err = (&NewTask{Type: "t.x", Params: json.RawMessage(`{"a":}`)}).message()
	require.ErrorContains(t, err, "not a JSON object")
}

// The SDK cannot import what hosts are made of; it has their limits all the same.
func TestLimitsAreThoseOfHosts(t *testing.T) {
	t.Parallel()
	require.Equal(t, task.MostAttempts, mostAttempts)
	require.Equal(t, task.MaxParamsBytes, MaxParamsBytes)
	require.Equal(t, task.MaxIDBytes, maxNameBytes)
	require.Equal(t, task.MaxTypeBytes, maxNameBytes)
}
