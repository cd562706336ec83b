package report_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/backplane/leptir/host/report"
)

// BenchmarkReport is what a report costs the one who reports, with a reporter that hangs
// and one that takes all.
func BenchmarkReport(b *testing.B) {
	release := make(chan struct{})
	hanging := &collector{before: func(context.Context, []report.Report) (int, error) { <-release; return 0, nil }}
	h := report.NewHub("here", slog.New(slog.DiscardHandler), report.Member{Name: "hanging", Reporter: hanging},
		report.Member{Name: "quick", Reporter: discard{}})
	params := []byte(`{"to":"ann","password":"hunter2"}`)
	b.ReportAllocs()
	for b.Loop() {
		h.Report(report.Report{Kind: report.KindError, Message: "busy", Task: &report.Task{ID: "t", Type: "mail.send", Params: params}})
	}
	close(release)
	h.Close(context.Background())
}

type discard struct{}

func (discard) Report(context.Context, []report.Report) (int, error) { return 0, nil }
func (discard) Close() error                                         { return nil }
