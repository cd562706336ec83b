package producer

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/backplane/leptir/internal/testservers/redisserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(redisserver.EndWith(m)) }
