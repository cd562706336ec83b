package main

import (
	"context"
	"errors"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

type failParams struct {
	Message string `json:"message,omitempty"`
}

func (p failParams) text() string {
	if p.Message == "" {
		return "it went wrong, as asked for"
	}
	return p.Message
}

func fail(_ context.Context, _ *sdk.BaseTask, p failParams) error { return errors.New(p.text()) }

func panics(_ context.Context, _ *sdk.BaseTask, p failParams) error { panic(p.text()) }
