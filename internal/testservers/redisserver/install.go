package redisserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Binary returns the path of redis-server (or of valkey-server, which is the same to us):
// from PATH, else installed with apt-get, where that is there and may be used. Otherwise
// the test is skipped with one sentence that says what to install; where the environment
// variable LEPTIR_TEST_REQUIRE_SERVERS is set, it fails instead.
func Binary(tb testing.TB) string {
	tb.Helper()
	path, err := binary()
	if err != nil {
		if os.Getenv("LEPTIR_TEST_REQUIRE_SERVERS") != "" {
			tb.Fatal(err)
		}
		tb.Skip(err)
	}
	return path
}

var binary = sync.OnceValues(func() (string, error) {
	path, err := inPath()
	if err == nil {
		return path, nil
	}
	if reason := install(); reason != "" {
		return "", fmt.Errorf("redis-server is not in PATH and %s: install the package redis-server, or let LEPTIR_TEST_REDIS_URL name a server for tests", reason)
	}
	return inPath()
})

func inPath() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		path, err = exec.LookPath("valkey-server")
	}
	return path, err
}

// install installs redis-server and returns "", or the reason why it cannot. Packages that
// are tested at the same time take turns: the one that comes second finds it installed.
func install() (reason string) {
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return "there is no apt-get to install it"
	}
	if os.Geteuid() != 0 {
		return "only root may install it with apt-get"
	}
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "leptir-install-redis-server.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err.Error()
	}
	defer lock.Close() // and so unlocks it
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err.Error()
	}
	if _, err := inPath(); err == nil {
		return ""
	}
	for _, args := range [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", "redis-server"}} {
		cmd := exec.Command(apt, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil && args[0] == "install" {
			return fmt.Sprintf("apt-get could not install it (%v: %.300s)", err, out)
		}
	}
	return ""
}
