package main

import (
	"context"
	"encoding/json"
	"fmt"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

// Test uses every helper once: it answers with its parameters, has additional meta info
// and goes through the states 1, 2 and 3.
type Test struct {
	sdk.BaseTask
	params map[string]any
}

// BeforeStart reads the parameters.
func (t *Test) BeforeStart(context.Context) error {
	t.ChangeState(1)
	return t.Bind(&t.params)
}

// DoJob answers with the parameters, as JSON with sorted keys.
func (t *Test) DoJob(context.Context) (sdk.ReturnCode, error) {
	t.ChangeState(2)
	echo, err := json.Marshal(t.params)
	if err != nil {
		return sdk.Error, fmt.Errorf("echo: %w", err)
	}
	t.AddResponseLine(string(echo))
	if err := t.SetResult(t.params); err != nil {
		return sdk.Error, err
	}
	t.LogInfo("test task runs", "attempt", t.Attempt(), "parameters", len(t.params))
	return sdk.Success, nil
}

// AfterFinish enters the last state.
func (t *Test) AfterFinish(context.Context) error {
	t.ChangeState(3)
	return nil
}

// GetAdditionalMetaInfo returns how many parameters there were, and which task this is.
func (t *Test) GetAdditionalMetaInfo() map[string]any {
	return map[string]any{"demo": true, "parameters": len(t.params), "attempt": t.Attempt()}
}

// Noop does nothing: what it costs is what a task costs.
type Noop struct{ sdk.BaseTask }

// DoJob returns.
func (t *Noop) DoJob(context.Context) (sdk.ReturnCode, error) { return sdk.Success, nil }
