package memory_test

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/metastore/metastoretest"
	"github.com/backplane/leptir/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var harness = metastoretest.Harness{New: func(testing.TB) metastoretest.Place {
	p := memory.NewPlace()
	return metastoretest.Place{Open: func(testing.TB) metastore.Store { return p.Open() }}
}}

func TestConformance(t *testing.T) { metastoretest.Run(t, harness) }

func BenchmarkStore(b *testing.B) { metastoretest.Bench(b, harness) }

func Example() {
	s := memory.New()
	defer s.Close()
	ctx := context.Background()
	_ = s.Put(ctx, []task.Record{{ID: "t1", Status: task.Completed, RetC: task.Success, RespM: "sent", Type: "mailer.send"}})
	rs, _ := s.Get(ctx, []task.ID{"t1", "never heard of"})
	for _, r := range rs {
		fmt.Println(r.ID, r.Status, r.RetC, r.RespM)
	}
	// Output: t1 completed success sent
}
