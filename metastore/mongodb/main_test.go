package mongodb_test

import (
	"testing"

	"github.com/backplane/leptir/internal/testservers/mongotest"
)

func TestMain(m *testing.M) { mongotest.Main(m) }
