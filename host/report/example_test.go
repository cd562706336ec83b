package report_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/backplane/leptir/host/report"
)

// console prints reports.
type console struct{}

func (console) Report(_ context.Context, batch []report.Report) (lost int, err error) {
	for _, r := range batch {
		fmt.Println(r.Task.Type, "failed:", r.Message, string(r.Task.Params))
	}
	return 0, nil
}

func (console) Close() error { return nil }

func Example() {
	hub := report.NewHub("host-1", slog.Default(), report.Member{Name: "screen", Kind: "console", Reporter: console{}})
	hub.Report(report.Report{Kind: report.KindError, Exception: true, Message: "no such mailbox",
		Task: &report.Task{ID: "17", Type: "mail.send", Params: []byte(`{"to":"ann","smtp_password":"hunter2"}`)}})
	hub.Close(context.Background()) // delivers what waits
	fmt.Println(hub.Stats()[0].Sent, "sent")
	// Output:
	// mail.send failed: no such mailbox {"smtp_password":"[redacted]","to":"ann"}
	// 1 sent
}
