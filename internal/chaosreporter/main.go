// Command chaosreporter is an error reporter for tests: the message of a report says how
// it misbehaves. Any other message it appends to the file $REPORT_FILE, a line each. Its
// tasks report by themselves. It is built by package testbin, and never part of a release.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

type reporter struct{ sdk.ErrorData }

func (r *reporter) ReportException(ctx context.Context, e sdk.ErrorReport) error {
	return r.report(ctx, e)
}

func (r *reporter) ReportMessage(ctx context.Context, e sdk.ErrorReport) error {
	return r.report(ctx, e)
}

func (r *reporter) report(_ context.Context, e sdk.ErrorReport) error {
	data := r.TakeErrorData()
	switch e.Message {
	case "die":
		fmt.Fprintln(os.Stderr, "no more paper")
		os.Exit(7)
	case "die once":
		flag := filepath.Join(filepath.Dir(os.Getenv("REPORT_FILE")), "died")
		if _, err := os.Stat(flag); err != nil {
			_ = os.WriteFile(flag, nil, 0o600)
			os.Exit(8)
		}
	case "hang":
		select {}
	case "fail":
		return errors.New("no such printer")
	case "panic":
		panic("out of ink")
	}
	f, err := os.OpenFile(os.Getenv("REPORT_FILE"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, e.Message, e.TaskType, data["task_id"], os.Getpid())
	return errors.Join(err, f.Close())
}

// reporting is a task that reports this and that, and ends as its parameter says.
type reporting struct{ sdk.BaseTask }

func (t *reporting) DoJob(context.Context) (sdk.ReturnCode, error) {
	end, err := t.GetString("end", "")
	if err != nil {
		return sdk.Error, err
	}
	t.AddErrorData(map[string]any{"list": 7, "api_token": "hunter2"})
	t.ReportMessage("half way")
	t.ReportError(sdk.WithData(errors.New("odd but not fatal"), map[string]any{"row": 3}))
	switch end {
	case "exit":
		time.Sleep(100 * time.Millisecond) // until what was reported is on its way
		os.Exit(9)
	case "flood":
		for range 1000 {
			t.ReportMessage("again")
		}
	}
	return sdk.Success, nil
}

func (t *reporting) AfterFinish(context.Context) error { return errors.New("cannot tidy up") }

func (t *reporting) GetAdditionalMetaInfo() map[string]any { return map[string]any{"bad": func() {}} }

func main() {
	sdk.Serve(sdk.Plugin{Name: "chaos", ErrorReporter: &reporter{}, Tasks: []sdk.TaskType{
		sdk.Type[reporting]("chaos.report", "Reports this and that."),
	}})
}
