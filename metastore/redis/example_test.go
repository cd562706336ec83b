package redis_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/metastore/redis"
	"github.com/backplane/leptir/task"
)

// Reads the record of a task: it wants a Redis on this machine.
func Example() {
	s := redis.Defaults() // localhost:6379, keys leptir:taskinfo:…
	ctx := context.Background()
	store, err := s.Open(ctx, metastore.Env{Name: "records", Logger: slog.Default()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	records, err := store.Get(ctx, []task.ID{"65a1f"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range records {
		fmt.Println(r.ID, r.Status, r.RetC, r.RespM)
	}
}
