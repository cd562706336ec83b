package sdk

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTryWith(t *testing.T) {
	t.Parallel()
	typ := each("t.asks", func(ctx context.Context, b *BaseTask) error {
		deadline, ok := ctx.Deadline()
		b.AddResponseLine(fmt.Sprintf("%s %d %d %v %v", b.ID(), b.Attempt(), b.Priority(), b.TimeLimit(), ok && time.Until(deadline) > 50*time.Second))
		for i := range 100 {
			b.Progress(float64(i)/100, fmt.Sprint(i))
		}
		return nil
	})
	o := TryWith(context.Background(), typ, nil, TryOptions{ID: "x", Attempt: 3, Priority: 7, TimeLimit: time.Minute})
	require.Equal(t, []string{"x 3 7 1m0s true"}, o.Response)
	require.Len(t, o.Progress, 100, "all of it, however fast")
	require.Equal(t, Progress{0.99, "99"}, o.Progress[99])
	require.Equal(t, []string{"try 1 0 0s false"}, Try(context.Background(), typ, nil).Response)

	o = TryWith(context.Background(), Type[undoable]("t.undoable", ""), nil, TryOptions{Revert: true})
	require.Equal(t, Success, o.Code)
	require.NotNil(t, o.Undo)
}

func TestTryGivesUpAtTheTimeLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		task func(context.Context, *BaseTask) error
		code ReturnCode
		kind string
		ran  time.Duration
	}{
		{"in time", func(context.Context, *BaseTask) error { time.Sleep(9 * time.Second); return nil }, Success, "", 9 * time.Second},
		{"listens", func(ctx context.Context, _ *BaseTask) error { <-ctx.Done(); return ctx.Err() }, TimeLimitExceeded, "error", 9 * time.Second},
		{"does not listen", func(context.Context, *BaseTask) error { time.Sleep(time.Hour); return nil }, TimeLimitExceeded, "timeout", 10 * time.Second},
		{"waits for an answer", func(ctx context.Context, b *BaseTask) error {
			time.Sleep(time.Hour)
			_, err := b.Push(context.Background(), NewTask{Type: "t.other"})
			return err
		}, TimeLimitExceeded, "timeout", 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				typ := each("t.slow", func(ctx context.Context, b *BaseTask) error {
					b.ChangeState(4)
					b.LogInfo("begun")
					return c.task(ctx, b)
				})
				start := time.Now()
				o := TryWith(context.Background(), typ, nil, TryOptions{TimeLimit: 10 * time.Second})
				require.Equal(t, c.ran, time.Since(start))
				require.Equal(t, c.ran, o.Duration)
				require.Equal(t, c.code, o.Code)
				require.Equal(t, []int{4}, o.States)
				require.Equal(t, "begun", o.Logs[0].Message)
				if c.kind == "" {
					require.Nil(t, o.Failure)
				} else {
					require.Equal(t, c.kind, o.Failure.Kind)
				}
				time.Sleep(2 * time.Hour) // those that were given up end
			})
		})
	}
}
