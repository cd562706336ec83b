// Command chaosreporter is an error reporter for tests: the message of a report says how
// it misbehaves. Any other message it appends to the file $REPORT_FILE, a line each. It is
// built by package testbin, and never part of a release.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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

func main() { sdk.ServeReporter("chaos", &reporter{}) }
