package memory_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "32") // the suite sleeps more than it works
	goleak.VerifyTestMain(m)
}
