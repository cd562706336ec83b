// Package testbin builds this module's programs for tests, each once for a test binary or,
// where $LEPTIR_TESTBIN names a folder, once for all that share it ("make test" makes one:
// linking is a good part of what the tests cost). The race detector is not in them: a
// plugin's start under it is ten times as slow.
package testbin

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// envShared names the environment variable of a folder for the programs of several test
// binaries.
const envShared = "LEPTIR_TESTBIN"

var (
	mu    sync.Mutex
	dir   string
	built = map[string]func() error{}
)

// Build returns the path of the program whose package lies in the folder pkg of this
// module, for example "plugins/demo". A failure to build it fails the test.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	mu.Lock()
	if dir == "" {
		dir = os.Getenv(envShared)
	}
	if dir == "" {
		d, err := os.MkdirTemp("", "leptir-testbin-")
		if err != nil {
			mu.Unlock()
			t.Fatalf("make a folder for test programs: %v", err)
		}
		dir = d
	}
	path := filepath.Join(dir, filepath.Base(pkg))
	build, ok := built[pkg]
	if !ok {
		build = sync.OnceValue(func() error { return buildOnce(pkg, path) })
		built[pkg] = build
	}
	mu.Unlock()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return path
}

// buildOnce builds a program, unless another test binary has.
func buildOnce(pkg, path string) error {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	cmd := exec.Command("go", "build", "-tags", "grpcnotrace", "-o", path+".new", "./"+pkg)
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as plugins should be built: they start sooner
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return os.Rename(path+".new", path)
}

// Root returns the folder of this module.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Main is the TestMain of a package that calls Build: it removes what was built, and fails
// if goroutines are left at the end.
func Main(m goleak.TestingM, options ...goleak.Option) {
	goleak.VerifyTestMain(m, append(options, goleak.Cleanup(func(code int) {
		mu.Lock()
		defer mu.Unlock()
		if dir != os.Getenv(envShared) {
			_ = os.RemoveAll(dir)
		}
		os.Exit(code)
	}))...)
}
