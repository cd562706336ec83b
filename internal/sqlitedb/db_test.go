package sqlitedb

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOpenMakesPrivateFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "var", "lib")
	db := open(t, Options{Path: filepath.Join(dir, "x.db")})
	require.NoError(t, db.Write(t.Context(), put("a", "{}")))
	for path, want := range map[string]os.FileMode{
		filepath.Dir(dir): 0o700, dir: 0o700,
		db.Path(): 0o600, db.Path() + "-wal": 0o600, db.Path() + "-shm": 0o600,
	} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), path)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string) string // returns the path to open
		want string                                 // of the error, PATH for the path
	}{
		{"no path", func(*testing.T, string) string { return "" }, "the path of the database is empty"},
		{"a folder", func(t *testing.T, path string) string {
			require.NoError(t, os.Mkdir(path, 0o700))
			return path
		}, "PATH is a folder; the path of the database must be a file"},
		{"a device", func(*testing.T, string) string { return "/dev/null" }, "PATH is not a regular file"},
		{"a file in place of the folder", func(t *testing.T, path string) string {
			writeFile(t, path, "")
			return filepath.Join(path, "x.db")
		}, "cannot use the database: stat PATH: not a directory"},
		{"a folder that cannot be made", func(*testing.T, string) string { return "/proc/leptir/x.db" },
			"cannot make the folder of the database: mkdir /proc/leptir: no such file or directory"},
		{"a folder that cannot be written", func(*testing.T, string) string { return "/proc/leptir.db" },
			"cannot make the database: open PATH: no such file or directory"},
		{"not a database", func(t *testing.T, path string) string {
			writeFile(t, path, strings.Repeat("this is a text, and a long one\n", 100))
			return path
		}, "PATH is not a database; move the file away or choose another path: file is not a database (26)"},
		{"a newer schema", func(t *testing.T, path string) string {
			db, err := Open(t.Context(), Options{Path: path})
			require.NoError(t, err)
			require.NoError(t, db.Close())
			c := other(t, path)
			exec(t, c, "PRAGMA user_version = 1000")
			return path
		}, "PATH was written by a newer leptir (schema 1000, this one knows up to " + strconv.Itoa(len(migrations)) + "); use that version, or another path"},
		{"the database of another program", func(t *testing.T, path string) string {
			c := other(t, path)
			exec(t, c, "CREATE TABLE songs(title)")
			return path
		}, "PATH is the database of another program; choose another path"},
		{"another program's mark", func(t *testing.T, path string) string {
			c := other(t, path)
			exec(t, c, "PRAGMA application_id = 77")
			return path
		}, "PATH is the database of another program; choose another path"},
		{"a read-only file system", func(t *testing.T, _ string) string {
			dir := tmpfs(t, "size=1m")
			path := filepath.Join(dir, "x.db")
			db, err := Open(t.Context(), Options{Path: path})
			require.NoError(t, err)
			require.NoError(t, db.Close())
			require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
			return path
		}, "PATH cannot be written; check the permissions of the file and its folder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := c.make(t, filepath.Join(t.TempDir(), "x.db"))
			_, err := Open(t.Context(), Options{Path: path})
			require.EqualError(t, err, strings.ReplaceAll(c.want, "PATH", path))
			registry.mu.Lock()
			defer registry.mu.Unlock()
			require.NotContains(t, registry.files, path, "a file that could not be opened must be forgotten")
		})
	}
}

// A file of an older version is brought up, with all that is in it, whatever its version.
func TestOpenBringsOlderFilesUp(t *testing.T) {
	t.Parallel()
	for version := 1; version < len(migrations); version++ {
		path := filepath.Join(t.TempDir(), "x.db")
		c, err := connect(path)
		require.NoError(t, err)
		for _, q := range migrations[:version] {
			for _, one := range strings.Split(strings.TrimSuffix(strings.TrimSpace(q), ";"), ";") {
				exec(t, c, one)
			}
		}
		exec(t, c, fmt.Sprintf("PRAGMA application_id = %d", applicationID))
		exec(t, c, fmt.Sprintf("PRAGMA user_version = %d", version))
		exec(t, c, "INSERT INTO tasks(id,state,at,due,body) VALUES('old',0,1,1,'{}')")
		require.NoError(t, c.close())
		db := open(t, Options{Path: path})
		require.NoError(t, db.Read(t.Context(), func(c *Conn) error {
			now, err := c.Int("PRAGMA user_version")
			require.EqualValues(t, len(migrations), now)
			require.NoError(t, err)
			n, err := c.Int("SELECT count(*) FROM tasks WHERE id='old' AND cancel IS NULL")
			require.EqualValues(t, 1, n)
			return err
		}))
	}
}

// A file of another program, or of a newer version, is left exactly as it was.
func TestOpenLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	c, err := connect(path)
	require.NoError(t, err)
	exec(t, c, "CREATE TABLE songs(title)")
	require.NoError(t, c.close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = Open(t.Context(), Options{Path: path})
	require.ErrorContains(t, err, "another program")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoFileExists(t, path+"-wal")
}

// Several processes that open a new file at once all find it theirs.
func TestSeveralOpenANewFile(t *testing.T) {
	t.Parallel()
	for range 12 {
		path := filepath.Join(t.TempDir(), "x.db")
		var wg sync.WaitGroup
		for range 4 {
			c := other(t, path)
			wg.Go(func() {
				for err := error(nil); ; runtime.Gosched() {
					if err = (&file{path: path}).setUp(c); !isBusy(err) {
						assert.NoError(t, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestOpenOptions(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	_, err := Open(t.Context(), Options{Path: path, Synchronous: "off"})
	require.EqualError(t, err, `synchronous is "off"; it can be "normal" or "full"`)
	_, err = Open(t.Context(), Options{Path: path, BusyTimeout: -1})
	require.EqualError(t, err, "busy timeout is negative (-1ns)")
	require.NoFileExists(t, path)
}

func TestDamagedFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := Open(t.Context(), Options{Path: path})
	require.NoError(t, err)
	for i := range 100 {
		require.NoError(t, db.Write(t.Context(), put(fmt.Sprint(i), strings.Repeat("x", 2000))))
	}
	require.NoError(t, db.Close())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(strings.Repeat("\xff", 60_000)), 4096) // all but the first page
	require.NoError(t, err)
	require.NoError(t, f.Close())

	db = open(t, Options{Path: path})
	err = db.Write(t.Context(), put("new", "{}"))
	require.EqualError(t, err, path+" is damaged; restore it from a backup, or move it away to start anew: database disk image is malformed (11)")
	err = db.Read(t.Context(), func(c *Conn) error { _, err := c.Int("SELECT count(record) FROM info"); return err })
	require.ErrorContains(t, err, path+" is damaged")
}

func TestHandlesShareOneFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := open(t, Options{Path: filepath.Join(dir, "x.db")})
	require.NoError(t, os.Symlink(dir, dir+"-link"))
	t.Cleanup(func() { _ = os.Remove(dir + "-link") })
	b := open(t, Options{Path: filepath.Join(dir+"-link", "x.db"), Synchronous: Full, BusyTimeout: time.Minute})
	require.Same(t, a.f, b.f, "two paths to one file are one file")
	require.EqualValues(t, time.Minute, a.f.busyTimeout.Load(), "the longest wins")

	require.NoError(t, a.Write(t.Context(), put("a", "{}")))
	require.NoError(t, a.Close())
	require.NoError(t, a.Close(), "a second Close does nothing")
	require.ErrorIs(t, a.Write(t.Context(), put("b", "{}")), ErrClosed)
	require.ErrorIs(t, a.Read(t.Context(), func(*Conn) error { return nil }), ErrClosed)
	require.ErrorIs(t, a.Wait(t.Context(), nil), ErrClosed)

	require.NoError(t, b.Write(t.Context(), put("b", "{}")))
	require.EqualValues(t, 2, count(t, b))
	require.NoError(t, b.Write(t.Context(), func(c *Conn) error {
		mode, err := c.Int("PRAGMA synchronous")
		require.EqualValues(t, 2, mode, "the stricter wins")
		return err
	}))
	require.NoError(t, b.Close())
	require.NoFileExists(t, a.Path()+"-wal", "the last one to leave tidies up")

	c := open(t, Options{Path: a.Path()})
	require.NotSame(t, a.f, c.f)
	require.EqualValues(t, 2, count(t, c))
}

func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 5 {
				db, err := Open(context.Background(), Options{Path: path})
				if err == nil {
					err = db.Write(context.Background(), put(fmt.Sprint(i, "-", j), "{}"))
					if cerr := db.Close(); err == nil {
						err = cerr
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 80, count(t, open(t, Options{Path: path})))
}

func TestOpenWhileLocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	c := other(t, path)
	exec(t, c, "BEGIN EXCLUSIVE")
	_, err := Open(t.Context(), Options{Path: path, BusyTimeout: 100 * time.Millisecond})
	require.Regexp(t, `x\.db is locked by another process \(waited \d+ms\)$`, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = Open(ctx, Options{Path: path})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	exec(t, c, "ROLLBACK")
	open(t, Options{Path: path})
}
