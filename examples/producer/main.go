// Command producer is a program that pushes tasks to leptir's queues, as a web application
// would: a report of last month now and urgently, and the reports of the next months when
// they are due. A host with the plugin of examples/report runs them.
//
//	producer -queue sqlite:var/leptir.db -folder /srv/expenses
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/backplane/leptir/producer"
)

func main() {
	config := flag.String("config", "", "the configuration `file` of a host; by default the one that a host would find")
	address := flag.String("queue", "", "the `address` of the queue, instead of a configuration file: sqlite:FILE, redis://…, mongodb://…, https://sqs…")
	folder := flag.String("folder", "", "the `folder` of the expenses, which the reports go to as well")
	months := flag.Int("months", 2, "how many of the next months' reports to schedule")
	flag.Parse()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx, *config, *address, *folder, *months, time.Now().UTC()); err != nil {
		fmt.Fprintln(os.Stderr, "producer:", err)
		os.Exit(1)
	}
}

// Report are the parameters of the task type report.make.
type Report struct {
	From string   `json:"from"`
	To   string   `json:"to"`
	Tell []string `json:"tell,omitempty"`
}

func run(ctx context.Context, config, address, folder string, months int, now time.Time) error {
	queue, err := open(ctx, config, address)
	if err != nil {
		return err
	}
	defer queue.Close()

	// One task, now. Its time limit wins over the host's.
	last := month(now, -1)
	id, err := queue.Push(ctx, producer.Task{
		Type:      "report.make",
		Params:    report(folder, last, "ann"),
		ID:        "report-" + last.Format("2006-01"), // run this program twice: it is queued once
		Priority:  -1,                                 // goes to the most urgent queue, where there are several
		TimeLimit: time.Minute,
	})
	if err != nil {
		return err
	}
	fmt.Println(id)

	// Several at once, each when its month is over.
	var tasks []producer.Task
	for i := range months {
		of := month(now, i)
		tasks = append(tasks, producer.Task{
			Type:   "report.make",
			Params: report(folder, of),
			ID:     "report-" + of.Format("2006-01"),
			At:     month(now, i+1),
		})
	}
	ids, err := queue.PushAll(ctx, tasks)
	for _, id := range ids { // those that are queued, even after an error
		fmt.Println(id)
	}
	return err
}

func open(ctx context.Context, config, address string) (*producer.Queue, error) {
	if address != "" {
		return producer.Dial(ctx, address)
	}
	return producer.Open(ctx, config)
}

// month returns the first moment of the month that is so many months away.
func month(now time.Time, away int) time.Time {
	return time.Date(now.Year(), now.Month()+time.Month(away), 1, 0, 0, 0, 0, time.UTC)
}

func report(folder string, of time.Time, tell ...string) Report {
	name := of.Format("2006-01")
	return Report{From: filepath.Join(folder, name+".csv"), To: filepath.Join(folder, name+".txt"), Tell: tell}
}
