package pool

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/backplane/leptir/internal/testbin"
)

func TestMain(m *testing.M) {
	recallGrace = time.Second
	testbin.Main(m, goleak.IgnoreTopFunction("github.com/backplane/leptir/host/process.spawnLoop"))
}
