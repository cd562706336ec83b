// Command asynqworker is an asynq server with the tasks of the measurements, in a process of
// its own as leptir's host is.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/hibiken/asynq"

	"github.com/backplane/leptir/bench/work"
)

func main() {
	addr := flag.String("redis", "", "host:port of the Redis server")
	db := flag.Int("db", 0, "number of the database")
	concurrency := flag.Int("concurrency", 4, "tasks at once")
	flag.Parse()
	mux := asynq.NewServeMux()
	mux.HandleFunc("bench.noop", func(context.Context, *asynq.Task) error { return nil })
	mux.HandleFunc("bench.work", func(_ context.Context, t *asynq.Task) error {
		do, err := work.Parse(string(t.Payload()))
		if err != nil {
			return err
		}
		do()
		return nil
	})
	mux.HandleFunc("bench.stamp", func(context.Context, *asynq.Task) error { return work.Stamp(work.Now()) })
	server := asynq.NewServer(asynq.RedisClientOpt{Addr: *addr, DB: *db},
		asynq.Config{Concurrency: *concurrency, LogLevel: asynq.WarnLevel})
	if err := server.Run(mux); err != nil {
		fmt.Fprintln(os.Stderr, "asynqworker:", err)
		os.Exit(1)
	}
}
