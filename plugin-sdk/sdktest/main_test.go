package sdktest_test

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/testbin"
)

func TestMain(m *testing.M) { testbin.Main(m) }

// failing is a test that notes how it fails.
type failing struct {
	mu       sync.Mutex
	errors   []string
	fatal    string
	cleanups []func()
}

func (f *failing) Helper() {}

func (f *failing) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func (f *failing) Fatalf(format string, args ...any) {
	f.mu.Lock()
	f.fatal = fmt.Sprintf(format, args...)
	f.mu.Unlock()
	runtime.Goexit()
}

func (f *failing) Cleanup(do func()) { f.cleanups = append(f.cleanups, do) }

// fails runs a test that is to fail and returns how it did.
func fails(test func(f *failing)) *failing {
	f := &failing{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, do := range f.cleanups {
				do()
			}
		}()
		test(f)
	}()
	<-done
	return f
}

// TestDependencies holds the package to the author's side.
func TestDependencies(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	const module = "github.com/backplane/leptir/"
	for _, d := range strings.Fields(string(out)) {
		if rest, ok := strings.CutPrefix(d, module); ok {
			require.Contains(t, []string{"plugin-sdk", "plugin-sdk/sdktest", "internal/pluginpb", "internal/protocol"}, rest)
		}
		require.NotContains(t, d, "testify", "authors choose their own")
	}
}
