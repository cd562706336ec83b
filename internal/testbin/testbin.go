// Package testbin builds this module's programs for tests, each once for a test binary,
// and without the race detector: a plugin's start under it is ten times as slow.
package testbin

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

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
		build = sync.OnceValue(func() error {
			cmd := exec.Command("go", "build", "-o", path, "./"+pkg)
			cmd.Dir = Root()
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
			}
			return nil
		})
		built[pkg] = build
	}
	mu.Unlock()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Root returns the folder of this module.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Main is the TestMain of a package that calls Build: it removes what was built, and fails
// if goroutines are left at the end.
func Main(m *testing.M, options ...goleak.Option) {
	goleak.VerifyTestMain(m, append(options, goleak.Cleanup(func(code int) {
		mu.Lock()
		defer mu.Unlock()
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))...)
}
