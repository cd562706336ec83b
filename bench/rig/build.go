package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Programs are the paths of what is measured, built from this tree.
type Programs struct {
	Host        string // cmd/leptir-host
	Plugin      string // bench/benchplugin
	AsynqWorker string // bench/asynqworker
}

// Root returns the folder of leptir's module.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

func buildPrograms(ctx context.Context, dir string) (Programs, error) {
	// The plugin is built as the documentation says: without cgo it starts sooner.
	for _, b := range []struct{ in, what, cgo string }{
		{Root(), "./cmd/leptir-host", "1"},
		{filepath.Join(Root(), "bench"), "./benchplugin", "0"},
		{filepath.Join(Root(), "bench"), "./asynqworker", "1"},
	} {
		cmd := exec.CommandContext(ctx, "go", "build", "-tags", "grpcnotrace", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/", b.what)
		cmd.Dir = b.in
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+b.cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			return Programs{}, fmt.Errorf("go build %s: %w\n%s", b.what, err, out)
		}
	}
	return Programs{Host: filepath.Join(dir, "leptir-host"), Plugin: filepath.Join(dir, "benchplugin"),
		AsynqWorker: filepath.Join(dir, "asynqworker")}, nil
}

// Machine says in a few words what is measured on, Commit what is measured. Neither names
// the machine.
func Machine() string {
	model := ""
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = ", " + strings.TrimSpace(value)
			break
		}
	}
	return fmt.Sprintf("%d cores (%s/%s%s), %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, model, runtime.Version())
}

// Commit returns the short hash of the tree's commit, with a plus sign where files differ
// from it.
func Commit() string {
	cmd := exec.Command("git", "describe", "--always", "--dirty=+", "--exclude=*")
	cmd.Dir = Root()
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
