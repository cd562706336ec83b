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
	"strconv"
	"strings"
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
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	modfile, err := patch(tmp)
	if err != nil {
		return "", err
	}
	part := filepath.Join(tmp, "mongoserver")
	_, err = run("go", "build", "-trimpath", "-tags", "ferretdb_no_postgresql", "-ldflags", "-s -w", "-modfile", modfile, "-o", part, ".")
	if err != nil {
		return "", err
	}
	return path, os.Rename(part, path)
}

// run runs a command in the folder of the server's module and returns what it printed.
func run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = sources()
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s in %s: %w\n%s", name, args[0], cmd.Dir, err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// changes are what the server's copy of FerretDB has otherwise; README.md of the server's
// module says why.
var changes = []struct{ file, old, new string }{
	{ // narrow.go.txt is called
		"internal/backends/sqlite/collection.go",
		"\tq += whereClause\n\tq += prepareOrderByClause(params.Sort)\n",
		"\twhereClause, args = narrow(params.Filter)\n\tq += whereClause\n\tq += prepareOrderByClause(params.Sort)\n",
	},
	{ // a time limit does not end a statement half-way
		"internal/handler/msg_find.go",
		"\tif params.MaxTimeMS != 0 {\n",
		"\tparams.MaxTimeMS = 0\n\tif params.MaxTimeMS != 0 {\n",
	},
	{
		"internal/handler/msg_findandmodify.go",
		"\tif params.MaxTimeMS != 0 {\n",
		"\tparams.MaxTimeMS = 0\n\tif params.MaxTimeMS != 0 {\n",
	},
	{ // each statement of an update gives its connection back
		"internal/handler/msg_update.go",
		"\t\tresult, err := common.UpdateDocument(ctx, c, \"update\", iter, &u)\n",
		"\t\tresult, err := common.UpdateDocument(ctx, c, \"update\", iter, &u)\n\t\tcloser.Close()\n",
	},
}

// patch makes a copy of FerretDB with narrow.go.txt and the changes in it, and returns the path of a go.mod by
// which the server is built with that copy.
func patch(tmp string) (modfile string, err error) {
	module, err := run("go", "list", "-m", "-f", "{{.Dir}}", "github.com/FerretDB/FerretDB")
	if err != nil {
		return "", err
	}
	fork := filepath.Join(tmp, "ferretdb")
	if err := os.CopyFS(fork, os.DirFS(module)); err != nil {
		return "", err
	}
	for _, c := range changes {
		file := filepath.Join(fork, c.file)
		err := edit(file, file, func(code string) (string, error) {
			if strings.Count(code, c.old) != 1 {
				return "", errors.New("this is not the code that the patch in build.go is for")
			}
			return strings.Replace(code, c.old, c.new, 1), nil
		})
		if err != nil {
			return "", err
		}
	}
	copied := func(s string) (string, error) { return s, nil }
	if err := edit(filepath.Join(sources(), "narrow.go.txt"), filepath.Join(fork, "internal/backends/sqlite/narrow.go"), copied); err != nil {
		return "", err
	}
	if err := edit(filepath.Join(sources(), "go.sum"), filepath.Join(tmp, "go.sum"), copied); err != nil {
		return "", err
	}
	modfile = filepath.Join(tmp, "go.mod")
	return modfile, edit(filepath.Join(sources(), "go.mod"), modfile, func(s string) (string, error) {
		return fmt.Sprintf("%s\nreplace github.com/FerretDB/FerretDB => %s\n", s, strconv.Quote(fork)), nil
	})
}

// edit writes a changed copy of a file, or changes it in its place.
func edit(from, to string, change func(string) (string, error)) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	s, err := change(string(b))
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if err := os.RemoveAll(to); err != nil { // a copy from the module cache is read-only
		return err
	}
	return os.WriteFile(to, []byte(s), 0o600)
}

// hashFolder returns a short hash over the files in a folder and over the compiler's version.
func hashFolder(dir string) (string, error) {
	files, err := os.ReadDir(dir) // sorted
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprint(h, runtime.Version(), runtime.GOOS, runtime.GOARCH, changes)
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
