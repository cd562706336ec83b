package main

import (
	"context"
	"errors"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

// Undoable fails in the way it is asked to, and can be undone by a demo.undo.
type Undoable struct {
	sdk.BaseTask
	params struct {
		Fail string `json:"fail,omitempty" enum:"error,crash,hang" doc:"How it fails; it succeeds where this is left out."`
		What string `json:"what,omitempty" doc:"What it did, for whoever undoes it."`
	}
}

// DoJob fails, or does not.
func (t *Undoable) DoJob(context.Context) (sdk.ReturnCode, error) {
	if err := t.Bind(&t.params); err != nil {
		return sdk.Error, err
	}
	switch t.params.Fail {
	case "error":
		return sdk.Error, errors.New("failed half-way, as asked for")
	case "crash":
		if err := crash(); err != nil {
			return sdk.Error, err
		}
		time.Sleep(time.Minute)
	case "hang":
		time.Sleep(24 * time.Hour) // and listens to nobody
	}
	return sdk.Success, nil
}

// Revert says what would undo it.
func (t *Undoable) Revert(context.Context) (*sdk.NewTask, error) {
	if err := t.Bind(&t.params); err != nil {
		return nil, err
	}
	return &sdk.NewTask{Type: "demo.undo", Params: map[string]any{"what": t.params.What}}, nil
}

type undoParams struct {
	What string `json:"what"`
}

func undo(_ context.Context, t *sdk.BaseTask, p undoParams) error {
	t.AddResponseLine("undone: " + p.What)
	return nil
}
