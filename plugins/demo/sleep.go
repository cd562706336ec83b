package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

// Slow works for 6 to 19 seconds, second by second.
type Slow struct{ sdk.BaseTask }

// DoJob sleeps, and says how far it is.
func (t *Slow) DoJob(ctx context.Context) (sdk.ReturnCode, error) {
	seconds := 6 + rand.IntN(14)
	t.LogInfo("slow task starts", "seconds", seconds)
	for i := range seconds {
		t.Progress(float64(i)/float64(seconds), fmt.Sprintf("second %d of %d", i+1, seconds))
		if err := wait(ctx, time.Second); err != nil {
			return sdk.Error, err
		}
	}
	t.AddResponseLine(fmt.Sprintf("worked for %d seconds", seconds))
	return sdk.Success, nil
}

type sleepParams struct {
	Seconds float64 `json:"seconds,omitempty" min:"0" doc:"How long, in seconds."`
}

func sleep(ctx context.Context, t *sdk.BaseTask, p sleepParams) error {
	if err := wait(ctx, time.Duration(p.Seconds*float64(time.Second))); err != nil {
		return err
	}
	t.AddResponseLine(fmt.Sprintf("slept for %g seconds", p.Seconds))
	return nil
}

// wait sleeps for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
