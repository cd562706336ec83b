package host_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/internal/testservers/mongotest"
	"github.com/backplane/leptir/internal/testservers/sqstest"
)

func TestMain(m *testing.M) { testbin.Main(withServers{m}) }

// withServers runs the tests, and stops the servers then that they have started.
type withServers struct{ *testing.M }

// servers are those that all tests of the package share, each started when it is wanted.
var servers struct {
	mu    sync.Mutex
	stops []func() error
}

func stopLater(stop func() error) {
	servers.mu.Lock()
	defer servers.mu.Unlock()
	servers.stops = append(servers.stops, stop)
}

var mongoServer = sync.OnceValues(func() (uri string, err error) {
	uri, stop, err := mongotest.Launch()
	if err == nil {
		stopLater(stop)
	}
	return uri, err
})

var sqsServer = sync.OnceValues(func() (*sqstest.Server, error) {
	server, stop, err := sqstest.Launch()
	if err == nil {
		stopLater(stop)
	}
	return server, err
})

func (w withServers) Run() int {
	code := w.M.Run()
	for _, stop := range servers.stops {
		if err := stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop a test server:", err)
			code = max(code, 1)
		}
	}
	return code
}
