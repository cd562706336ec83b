package memory_test

import (
	"context"
	"fmt"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/task"
)

func Example() {
	b := memory.New()
	defer b.Close()
	ctx := context.Background()
	_ = b.Push(ctx, []task.Task{{ID: "t1", Type: "mailer.send", Params: []byte(`{"to":"ana"}`)}})
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
