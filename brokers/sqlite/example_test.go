package sqlite_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/sqlite"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/task"
)

func Example() {
	dir, _ := os.MkdirTemp("", "leptir")
	defer os.RemoveAll(dir)

	s := sqlite.Defaults()
	s.Path = settings.Path(filepath.Join(dir, "leptir.db"))
	ctx := context.Background()
	b, err := s.Open(ctx, brokers.Env{Name: "default", Logger: slog.Default()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()

	_ = b.Push(ctx, []task.Task{{ID: "t1", Type: "mailer.send"}, {ID: "t2", Type: "mailer.send", At: time.Now().Add(time.Hour)}})
	ds, _ := b.Lease(ctx, 10, 30*time.Second)
	for _, d := range ds {
		fmt.Println(d.Task.ID, "attempt", d.Attempt)
		_, _ = b.Settle(ctx, []brokers.Settlement{{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Bury, Reason: "no such address"}})
	}
	st, _ := b.Stats(ctx)
	fmt.Printf("%+v\n", st)
	// Output:
	// t1 attempt 1
	// {Ready:0 Scheduled:1 Leased:0 Dead:1 Parked:0 Paused:false}
}
