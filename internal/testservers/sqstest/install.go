package sqstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backplane/leptir/internal/testservers/sqsserver"
)

// oldestNode is the oldest major version of node that runs the server.
const oldestNode = 20

// installTime bounds the installation, the wait for another test binary's included.
const installTime = 5 * time.Minute

// tools finds node and npm; missing says in one sentence what is not there.
func tools() (node, npm, missing string) {
	node, err := exec.LookPath("node")
	if err != nil {
		return "", "", fmt.Sprintf("node is not in PATH: install Node.js %d or newer with npm, or set %s", oldestNode, endpointVariable)
	}
	npm, err = exec.LookPath("npm")
	if err != nil {
		return "", "", fmt.Sprintf("npm is not in PATH: install it, or set %s", endpointVariable)
	}
	out, err := exec.Command(node, "--version").Output()
	if err != nil {
		return "", "", fmt.Sprintf("%s --version: %v; install Node.js %d or newer, or set %s", node, err, oldestNode, endpointVariable)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldestNode {
		return "", "", fmt.Sprintf("%s is version %s: install Node.js %d or newer, or set %s", node, bytes.TrimSpace(out), oldestNode, endpointVariable)
	}
	return node, npm, ""
}

// install puts the server into a folder of the user's cache, unless it is there already,
// and returns the folder. Its name holds a hash of the server's files, so that a changed
// version is installed beside an old one. A file lock keeps test binaries that run at the
// same time from installing at the same time.
func install(npm string) (dir string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	names, err := fs.Glob(sqsserver.Files, "*")
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	files := map[string][]byte{}
	for _, name := range names {
		b, err := fs.ReadFile(sqsserver.Files, name)
		if err != nil {
			return "", err
		}
		files[name] = b
		fmt.Fprintf(hash, "%s %d\n%s", name, len(b), b)
	}
	base := filepath.Join(cache, "leptir-test")
	dir = filepath.Join(base, "sqsserver-"+hex.EncodeToString(hash.Sum(nil))[:16])
	done := filepath.Join(dir, "installed")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTime)
	defer cancel()
	unlock, err := lock(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci in %s: %w\n%s", dir, err, out)
	}
	return dir, os.WriteFile(done, nil, 0o600)
}

// lock takes the file lock at path, which other processes may hold for a while.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
