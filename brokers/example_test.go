package brokers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/brokers/sqlite"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/task"
)

// A program opens the queue of its hosts and pushes a task.
func ExampleOpen() {
	dir, _ := os.MkdirTemp("", "leptir")
	defer os.RemoveAll(dir)

	queue := sqlite.Defaults()
	queue.Path = settings.Path(filepath.Join(dir, "leptir.db"))
	ctx := context.Background()
	set, err := brokers.Open(ctx, brokers.Env{}, brokers.Source{Name: "default", Kind: "sqlite", Settings: queue})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer set.Close()

	id, err := set.PushTask(ctx, task.Task{Type: "mailer.send", Params: json.RawMessage(`{"to":"ann@example.com"}`)},
		time.Now().Add(time.Hour), 0, 30*time.Second)
	fmt.Println(len(id), err)
	// Output: 36 <nil>
}

// A lower priority number is more urgent: a task goes to the first broker whose number is
// not below the task's.
func ExampleSet_PushTask() {
	ctx := context.Background()
	set, err := brokers.NewSet(
		brokers.Named{Name: "urgent", Priority: 0, Broker: memory.New()},
		brokers.Named{Name: "bulk", Priority: 10, Broker: memory.New()},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer set.Close()

	for _, priority := range []int{-3, 0, 5, 99} {
		_, err := set.PushTask(ctx, task.Task{Type: "mailer.send"}, time.Time{}, priority, 0)
		if err != nil {
			fmt.Println(err)
		}
	}
	for _, b := range set.Members() {
		stats, _ := b.Broker.Stats(ctx)
		fmt.Println(b.Name, stats.Ready)
	}
	// Output:
	// urgent 2
	// bulk 2
}

// Many tasks go in few calls of a broker, and all or none of an invalid batch.
func ExampleSet_Push() {
	ctx := context.Background()
	set, err := brokers.NewSet(brokers.Named{Name: "default", Broker: memory.New()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer set.Close()

	ids, err := set.Push(ctx, []task.Task{{ID: "invoice-17", Type: "invoice.print"}, {ID: "invoice-18", Type: "invoice.print"}})
	fmt.Println(ids, err)
	_, err = set.Push(ctx, []task.Task{{ID: "invoice-19", Type: "invoice print"}})
	fmt.Println(err)
	// Output:
	// [invoice-17 invoice-18] <nil>
	// push: task type "invoice print" has a character other than letters, digits, dots, underscores and dashes
}
