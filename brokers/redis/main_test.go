package redis_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"

	"github.com/backplane/leptir/internal/testservers/redisserver"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "32") // the suite sleeps more than it works
	goleak.VerifyTestMain(redisserver.EndWith(m))
}
