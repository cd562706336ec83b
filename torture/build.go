package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/backplane/leptir/internal/testbin"
)

// programs are the binaries of a run.
type programs struct {
	host    string
	plugins []string // two versions of the plugin
}

// build builds them in a folder.
func build(ctx context.Context, dir string, race, clocks bool) (*programs, error) {
	p := &programs{host: filepath.Join(dir, "leptir-host")}
	args := []string{"build", "-o", p.host}
	if race {
		args = append(args, "-race")
	}
	if clocks {
		file, err := overlay(dir)
		if err != nil {
			return nil, err
		}
		args = append(args, "-overlay", file)
	}
	if err := goTool(ctx, append(args, "./cmd/leptir-host")...); err != nil {
		return nil, err
	}
	mod, err := modfile(dir)
	if err != nil {
		return nil, err
	}
	for _, version := range []string{"1", "2"} {
		file := filepath.Join(dir, "plugin-"+version)
		if err := goTool(ctx, "-C", "torture", "build", "-mod=mod", "-modfile", mod, "-ldflags", "-s -w -X main.version="+version, "-o", file, "./plugin"); err != nil {
			return nil, err
		}
		p.plugins = append(p.plugins, file)
	}
	return p, nil
}

// modfile writes a go.mod and go.sum in dir that this module can be built by, whatever leptir
// itself has come to need, and returns the path of the first. The Makefile has the like for
// this program.
func modfile(dir string) (string, error) {
	own := filepath.Join(testbin.Root(), "torture")
	mod, err := os.ReadFile(filepath.Join(own, "go.mod"))
	if err != nil {
		return "", err
	}
	var sums []byte
	for _, name := range []string{filepath.Join(testbin.Root(), "go.sum"), filepath.Join(own, "go.sum")} {
		b, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		sums = append(sums, b...)
	}
	file := filepath.Join(dir, "torture.mod")
	if err := os.WriteFile(file, mod, 0o600); err != nil {
		return "", err
	}
	return file, os.WriteFile(filepath.Join(dir, "torture.sum"), sums, 0o600)
}

// goTool runs the go command in leptir's folder.
func goTool(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = testbin.Root()
	// GOFLAGS may name a go.mod of the Makefile's, which is another module's here.
	cmd.Env = append(os.Environ(), "GOFLAGS=", "CGO_ENABLED="+map[bool]string{true: "1", false: "0"}[slices.Contains(args, "-race")])
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return nil
}
