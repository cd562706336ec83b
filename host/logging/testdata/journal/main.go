// Command journal logs what its test expects to the journal sink.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/backplane/leptir/host/logging"
)

func main() {
	format := os.Args[1]
	kind, _ := logging.Standard().Kind("journal")
	s := kind.New().(*logging.JournalSettings)
	s.Format = format
	sink, err := s.Open(context.Background())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	l, sinks := logging.New(sink)
	l.Debug("not at this level")
	l.With("task", "0190-a", "type", "demo.test").Warn("it\nfailed", "attempt", 2, "two words", "a\nb",
		"PRIORITY", "0", slog.Group("attrs", "to", "ann", "n", 3))
	if err := sinks.Close(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
