package process

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/backplane/leptir/internal/testbin"
)

func TestMain(m *testing.M) {
	testbin.Main(m,
		// The spawner's thread lives as long as the program, by design.
		goleak.IgnoreTopFunction("github.com/backplane/leptir/host/process.spawnLoop"))
}
