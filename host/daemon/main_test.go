package daemon_test

import (
	"testing"

	"github.com/backplane/leptir/internal/testbin"
)

func TestMain(m *testing.M) { testbin.Main(m) }
