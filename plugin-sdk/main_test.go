package sdk

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// buildDir is where the tests build binaries and keep sockets.
var buildDir string

func TestMain(m *testing.M) {
	if addr := os.Getenv(dialEnv); addr != "" {
		stranger(addr)
		return
	}
	var err error
	if buildDir, err = os.MkdirTemp("", "sdk"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := 0
	goleak.VerifyTestMain(m, goleak.Cleanup(func(c int) { code = c }))
	_ = os.RemoveAll(buildDir)
	os.Exit(code)
}
