package main

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

// try runs one task of the plugin in this process.
func try(t *testing.T, ctx context.Context, name string, params any) sdk.Outcome {
	t.Helper()
	for _, typ := range demo.Tasks {
		if typ.Name() == name {
			return sdk.Try(ctx, typ, params)
		}
	}
	t.Fatalf("the plugin has no task type %q", name)
	return sdk.Outcome{}
}

func TestTasks(t *testing.T) {
	t.Parallel()
	ctx := context.Background()

	o := try(t, ctx, "demo.test", json.RawMessage(`{"b":[1,"x"],"a":{"n":2.5}}`))
	require.Equal(t, sdk.Success, o.Code, "%v", o.Failure)
	require.Equal(t, []string{`{"a":{"n":2.5},"b":[1,"x"]}`}, o.Response)
	require.Equal(t, []int{1, 2, 3}, o.States)
	require.Equal(t, map[string]any{"demo": true, "parameters": 2.0, "attempt": 1.0}, o.Meta)
	require.Equal(t, "test task runs", o.Logs[0].Message)
	require.Equal(t, map[string]any{"b": []any{1.0, "x"}, "a": map[string]any{"n": 2.5}}, o.Result)

	o = try(t, ctx, "demo.test", nil)
	require.Equal(t, []string{`{}`}, o.Response)

	require.Equal(t, sdk.Success, try(t, ctx, "demo.noop", nil).Code)

	o = try(t, ctx, "demo.sleep", map[string]any{"seconds": 0.02})
	require.Equal(t, []string{"slept for 0.02 seconds"}, o.Response)
	require.GreaterOrEqual(t, o.Duration, 20*time.Millisecond)

	o = try(t, ctx, "demo.sleep", map[string]any{"seconds": "long"})
	require.Equal(t, "input", o.Failure.Kind)

	o = try(t, ctx, "demo.error", map[string]any{"message": "no luck"})
	require.Equal(t, sdk.Error, o.Code)
	require.Equal(t, sdk.Failure{Message: "no luck", Kind: "error"}, *o.Failure)

	o = try(t, ctx, "demo.panic", nil)
	require.Equal(t, sdk.Error, o.Code)
	require.Equal(t, "panic", o.Failure.Kind)
	require.Equal(t, "it went wrong, as asked for", o.Failure.Message)
	require.Contains(t, o.Failure.Stack, "fail.go")

	o = try(t, ctx, "demo.undoable", map[string]any{"fail": "error", "what": "paid"})
	require.Equal(t, sdk.Error, o.Code)
	require.Equal(t, "demo.undo", o.Undo.Type)
	require.Equal(t, []string{"undone: paid"}, try(t, ctx, o.Undo.Type, o.Undo.Params).Response)
	require.Nil(t, try(t, ctx, "demo.undoable", nil).Undo)
}

func TestSleepersHonourTheirContext(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"demo.slow", "demo.sleep"} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		o := try(t, ctx, name, map[string]any{"seconds": 3600})
		require.Equal(t, sdk.Error, o.Code)
		require.Contains(t, o.Failure.Message, "context deadline exceeded")
		require.Less(t, o.Duration, time.Minute)
	}
}
