package process

import (
	"fmt"
	"os"
	"testing"

	"github.com/backplane/leptir/internal/testbin"
)

func TestMain(m *testing.M) {
	if order := os.Getenv(envHost); order != "" {
		fmt.Fprintln(os.Stderr, beHost(order))
		os.Exit(1)
	}
	testbin.Main(m)
}
