package mongodb_test

import (
	"flag"
	"testing"

	"github.com/backplane/leptir/internal/testservers/mongotest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "6") // the suite sleeps more than it works, the test server does not
	mongotest.Main(m)
}
