package redisserver

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// shared is the server that the tests of one binary share, started by the first that asks.
var shared struct {
	sync.Mutex
	server *Server
	dir    string
}

// URL returns the URL of a server for tests that need none of their own: the one that the
// environment variable LEPTIR_TEST_REDIS_URL names, else one that is started for the test
// binary. Others use it too, so tests use keys of their own. The binary's TestMain must use
// EndWith.
func URL(tb testing.TB) string {
	tb.Helper()
	if url := os.Getenv("LEPTIR_TEST_REDIS_URL"); url != "" {
		return url
	}
	path := Binary(tb)
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		dir, err := os.MkdirTemp("", "leptir-redis-")
		require.NoError(tb, err)
		shared.dir = dir
		shared.server, err = start(path, dir, nil)
		require.NoError(tb, err)
	}
	return fmt.Sprintf("redis://%s/0", shared.server.Addr())
}

// Runner runs the tests of a binary, as testing.M does.
type Runner interface{ Run() int }

// EndWith returns a Runner that runs m and then ends the shared server, for TestMain:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(redisserver.EndWith(m)) }
func EndWith(m Runner) Runner { return runner{m} }

type runner struct{ m Runner }

func (r runner) Run() int {
	code := r.m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		shared.server.Kill()
		_ = os.RemoveAll(shared.dir)
		shared.server = nil
	}
	return code
}
