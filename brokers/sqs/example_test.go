package sqs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

func Example() {
	settings := Defaults()
	settings.Connection.Queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks"
	settings.Connection.DeadQueue = "https://sqs.eu-west-1.amazonaws.com/123456789012/dead"
	settings.Connection.Key, settings.Connection.Secret = "AKIAEXAMPLE", "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
	settings.roundTripper = newFake() // no network here
	ctx := context.Background()
	b, err := settings.Open(ctx, brokers.Env{Name: "mail", Logger: slog.Default()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()

	_ = b.Push(ctx, []task.Task{{ID: "t1", Type: "mailer.send", Params: []byte(`{"to":"ana"}`)}})
	_ = b.(brokers.Waiter).Wait(ctx)
	ds, _ := b.Lease(ctx, 10, 30*time.Second)
	for _, d := range ds {
		fmt.Println(d.Task.ID, d.Task.Type, string(d.Task.Params), "attempt", d.Attempt)
		_, _ = b.Settle(ctx, []brokers.Settlement{{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done}})
	}
	st, _ := b.Stats(ctx)
	fmt.Printf("%+v\n", st)
	// Output:
	// t1 mailer.send {"to":"ana"} attempt 1
	// {Ready:0 Scheduled:0 Leased:0 Dead:0 Parked:0 Paused:false}
}
