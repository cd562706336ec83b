package pool

import (
	"testing"
	"time"

	"github.com/backplane/leptir/internal/testbin"
)

func TestMain(m *testing.M) {
	recallGrace = time.Second
	testbin.Main(m)
}
