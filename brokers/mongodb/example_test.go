package mongodb_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/mongodb"
	"github.com/backplane/leptir/task"
)

// A producer and a host in one: it wants a MongoDB on this machine.
func Example() {
	s := mongodb.Defaults() // localhost:27017, database leptir
	s.Connection.Collection = "example_tasks"
	ctx := context.Background()
	b, err := s.Open(ctx, brokers.Env{Name: "default", Logger: slog.Default()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()

	err = b.Push(ctx, []task.Task{{ID: task.NewID(), Type: "demo.test", Params: []byte(`{"n":3}`), PushedAt: time.Now()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	deliveries, err := b.Lease(ctx, 10, 30*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range deliveries {
		fmt.Println(d.Task.Type, string(d.Task.Params))
		_, _ = b.Settle(ctx, []brokers.Settlement{{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done}})
	}
}
