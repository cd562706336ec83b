package mongotest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// sources is the folder of the server's module.
func sources() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(filepath.Dir(file)), "mongoserver")
}

// build returns the path of the server's program. It is built once for each state of its
// sources and kept in the user's cache folder: the build takes a minute, and test binaries of
// several packages, which run at the same time, share it.
func build() (path string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "leptir-testservers")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	sum, err := hashFolder(sources())
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "mongoserver-"+sum)

	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close() // which unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	part := path + ".part"
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "ferretdb_no_postgresql", "-ldflags", "-s -w", "-o", part, ".")
	cmd.Dir = sources()
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build in %s: %w\n%s", cmd.Dir, err, out)
	}
	return path, os.Rename(part, path)
}

// hashFolder returns a short hash over the files in a folder and over the compiler's version.
func hashFolder(dir string) (string, error) {
	files, err := os.ReadDir(dir) // sorted
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, f.Name(), len(b))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}
