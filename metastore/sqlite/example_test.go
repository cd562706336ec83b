package sqlite_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/metastore/sqlite"
	"github.com/backplane/leptir/task"
)

func Example() {
	dir, _ := os.MkdirTemp("", "leptir")
	defer os.RemoveAll(dir)

	s := sqlite.Defaults()
	s.Path = settings.Path(filepath.Join(dir, "leptir.db"))
	ctx := context.Background()
	store, err := s.Open(ctx, metastore.Env{Name: "records", Logger: slog.Default()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	_ = store.Put(ctx, []task.Record{{ID: "t1", Status: task.InProgress, Type: "mailer.send", Run: task.Run{Delivery: 2}}})
	_ = store.Put(ctx, []task.Record{{ID: "t1", Status: task.Completed, Type: "mailer.send", Run: task.Run{Delivery: 1}}}) // from a host that lost its lease
	rs, _ := store.Get(ctx, []task.ID{"t1"})
	fmt.Println(rs[0].ID, rs[0].Status)
	// Output: t1 in progress
}
