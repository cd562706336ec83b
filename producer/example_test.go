package producer_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/backplane/leptir/producer"
)

// A program pushes to the queues of a host's configuration file.
func ExampleOpen() {
	dir, _ := os.MkdirTemp("", "leptir")
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "leptir.hcl")
	_ = os.WriteFile(file, []byte(`broker "sqlite" "default" {}`), 0o600)

	ctx := context.Background()
	queue, err := producer.Open(ctx, file)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer queue.Close()
	id, err := queue.Push(ctx, producer.Task{Type: "mailer.send", Params: map[string]any{"to": "ann@example.com"}})
	fmt.Println(len(id), err)
	// Output: 36 <nil>
}

func ExampleDial() {
	dir, _ := os.MkdirTemp("", "leptir")
	defer os.RemoveAll(dir)

	ctx := context.Background()
	queue, err := producer.Dial(ctx, "sqlite:"+filepath.Join(dir, "leptir.db"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer queue.Close()
	id, err := queue.Push(ctx, producer.Task{
		Type:      "report.make",
		Params:    struct{ Month int }{3},
		ID:        "report-3", // pushed again, it is not queued twice
		Priority:  -1,         // more urgent than the usual
		At:        time.Now().Add(time.Hour),
		TimeLimit: time.Minute,
	})
	fmt.Println(id, err)
	_, err = queue.Push(ctx, producer.Task{Type: "report.make", Params: []int{3}})
	fmt.Println(err)
	// Output:
	// report-3 <nil>
	// push: parameters of task 1, of type "report.make": an array is no JSON object
}

func ExampleQueue_PushAll() {
	dir, _ := os.MkdirTemp("", "leptir")
	defer os.RemoveAll(dir)

	ctx := context.Background()
	queue, err := producer.Dial(ctx, "sqlite:"+filepath.Join(dir, "leptir.db"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer queue.Close()
	var tasks []producer.Task
	for number := 17; number < 20; number++ {
		tasks = append(tasks, producer.Task{Type: "invoice.print", Params: map[string]int{"number": number}, ID: fmt.Sprint("invoice-", number)})
	}
	fmt.Println(queue.PushAll(ctx, tasks))
	// Output: [invoice-17 invoice-18 invoice-19] <nil>
}
