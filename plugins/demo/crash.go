package main

import (
	"context"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

// Crash ends the process that it runs in by a signal, as a fault in C code would.
type Crash struct{ sdk.BaseTask }

// DoJob does not return.
func (t *Crash) DoJob(context.Context) (sdk.ReturnCode, error) {
	t.LogWarning("crash task is about to crash")
	if err := crash(); err != nil {
		return sdk.Error, err
	}
	// The signal goes to any thread of the process; it is a matter of microseconds.
	time.Sleep(time.Minute)
	return sdk.Unknown, nil
}
