package ctl

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/backplane/leptir/internal/testbin"
)

func TestMain(m *testing.M) {
	testbin.Main(m, goleak.IgnoreTopFunction("github.com/backplane/leptir/host/process.spawnLoop"))
}
