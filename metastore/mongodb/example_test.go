package mongodb_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/metastore/mongodb"
	"github.com/backplane/leptir/task"
)

// A program that looks how its task went: it wants a MongoDB on this machine.
func Example() {
	s := mongodb.Defaults() // localhost:27017, database leptir, collection info
	ctx := context.Background()
	st, err := s.Open(ctx, metastore.Env{Name: "main", Logger: slog.Default()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer st.Close()
	records, err := st.Get(ctx, []task.ID{"0192f3c8-5f0e-7cc1-b4b8-6d2d5c0b8a11"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range records {
		fmt.Println(r.Status, r.RetC, r.RespM)
	}
}
