package cancel_test

import (
	"fmt"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/cancel"
	"github.com/backplane/leptir/task"
)

// A task was killed because somebody had cancelled it; its record says so.
func ExampleConclude() {
	rec := task.Record{ID: "report-7", Type: "report.make", RetC: task.Error,
		Run: task.Run{Attempt: 1, Error: "process ended: cancelled", Exit: &task.Exit{Reason: "cancelled", Signal: "SIGKILL"}}}
	cancel.Conclude(&rec, brokers.Cancellation{Reason: cancel.DefaultReason}, time.Now())
	fmt.Println(rec.Status, rec.RetC, rec.Run.Error, rec.Run.Exit.Reason, rec.Run.Exit.Signal, cancel.Was(rec))
	// Output: completed error cancelled by operator cancelled SIGKILL true
}

// A wish that the broker cannot keep lies in the meta storages. It is about the task that was
// pushed before it, not about a later one of the same id.
func ExampleWished() {
	now := time.Now()
	rec, _ := cancel.Wish("report-7", brokers.Cancellation{At: now, Grace: 10 * time.Second, Reason: cancel.DefaultReason})
	for _, pushed := range []time.Time{now.Add(-time.Minute), now.Add(time.Minute)} {
		c, ok := cancel.Wished(rec, &task.Task{ID: "report-7", PushedAt: pushed})
		fmt.Println(ok, c.Grace)
	}
	// Output:
	// true 10s
	// false 10s
}
