// Package peers finds and installs the queues in other languages that leptir is compared
// with where somebody asks for it: Celery as Debian packages it, BullMQ from npm.
package peers

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed celery bullmq
var files embed.FS

// Python runs Debian's packages, whatever else is in PATH.
const Python = "/usr/bin/python3"

// installTime bounds an installation.
const installTime = 5 * time.Minute

// Copy writes the files of a peer into dir.
func Copy(peer, dir string) error {
	entries, err := files.ReadDir(peer)
	if err != nil {
		return err
	}
	for _, e := range entries {
		b, err := files.ReadFile(peer + "/" + e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Celery sees to it that Celery is there, by apt-get if need be. It returns its version.
func Celery(ctx context.Context) (version string, err error) {
	ask := func() (string, error) {
		out, err := exec.CommandContext(ctx, Python, "-c", "import celery, redis; print(celery.__version__, end='')").Output()
		return string(out), err
	}
	if version, err = ask(); err == nil {
		return version, nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return "", errors.New("install Debian's packages python3-celery and python3-redis")
	}
	ctx, cancel := context.WithTimeout(ctx, installTime)
	defer cancel()
	for _, args := range [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", "python3-celery", "python3-redis"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil && args[0] == "install" {
			return "", fmt.Errorf("apt-get could not install python3-celery: %w: %.300s", err, out)
		}
	}
	return ask()
}

// BullMQ sees to it that BullMQ is there, by npm if need be. It returns the folder of its
// files and its version.
func BullMQ(ctx context.Context) (dir, version string, err error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", "", fmt.Errorf("%s is not in PATH", tool)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", "", err
	}
	dir = filepath.Join(cache, "leptir-bench", "bullmq")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	if err := Copy("bullmq", dir); err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, installTime)
	defer cancel()
	ask := func() (string, error) {
		cmd := exec.CommandContext(ctx, "node", "-p", "require('ioredis') && require('bullmq/package.json').version")
		cmd.Dir = dir
		out, err := cmd.Output()
		return string(out), err
	}
	if version, err = ask(); err == nil {
		return dir, version, nil
	}
	// Not "npm ci": the lock file leaves out what BullMQ would use on other systems, which
	// that does not accept.
	cmd := exec.CommandContext(ctx, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("npm install: %w\n%.1000s", err, out)
	}
	version, err = ask()
	return dir, version, err
}
