package sqlitedb

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a file that the test closes.
func open(t *testing.T, o Options) *DB {
	t.Helper()
	db, err := Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// fresh opens a new file.
func fresh(t *testing.T) *DB {
	t.Helper()
	return open(t, Options{Path: filepath.Join(t.TempDir(), "x.db")})
}

// put inserts a row of info, the simpler of the tables.
func put(id, text string) func(*Conn) error {
	return func(c *Conn) error {
		_, err := c.Exec(`INSERT INTO info(id,delivery,at,record) VALUES(?,0,0,?)`, id, text)
		return err
	}
}

func count(t *testing.T, db *DB) (n int64) {
	t.Helper()
	require.NoError(t, db.Read(context.Background(), func(c *Conn) (err error) {
		n, err = c.Int(`SELECT count(*) FROM info`)
		return err
	}))
	return n
}

// other returns a connection of its own, which to the file is another process.
func other(t *testing.T, path string) *Conn {
	t.Helper()
	c, err := connect(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.close()) })
	return c
}

func exec(t *testing.T, c *Conn, query string, args ...any) {
	t.Helper()
	_, err := c.Exec(query, args...)
	require.NoError(t, err, query)
}

// tmpfs mounts a small file system, or skips the test where that is not allowed.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("cannot mount a file system here: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	return dir
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}
