// Package sqlitedb owns the SQLite file that holds leptir's queue and records: opening it,
// its schema, and who may use it when. In a process there is one writer for each file, a
// goroutine that carries out concurrent writes in one transaction, and a few connections
// for readers. Brokers and stores that name the same file share them. Several processes may
// use one file at the same time.
//
// What the tables mean, and the statements on them, belong to brokers/sqlite and
// metastore/sqlite; this package knows nothing of tasks and records.
package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The values of Options.Synchronous.
const (
	// Normal syncs the disk at checkpoints. Nothing is lost when a process dies; when the
	// machine loses power, the last moments can be.
	Normal = "normal"
	// Full syncs the disk at every commit. Nothing is lost when the power fails.
	Full = "full"
)

// Options say how to open a file.
type Options struct {
	// Path is the file; it is made, with its folders, if it is not there.
	Path string
	// Synchronous is Normal or Full; empty is Normal. Where users of one file differ, the
	// stricter wins for all.
	Synchronous string
	// BusyTimeout is how long a write waits while another process writes; 0 is 5 seconds.
	// Where users of one file differ, the longest wins for all.
	BusyTimeout time.Duration
}

// callLimit bounds a call whose ctx has no end.
const callLimit = time.Minute

// DB is a handle on a file. It is safe for concurrent use.
type DB struct {
	f      *file
	once   sync.Once
	closed chan struct{}
	err    error // of Close
}

// file is what the handles on one file share.
type file struct {
	path        string
	full        atomic.Bool
	busyTimeout atomic.Int64

	opened  chan struct{} // closed when open has ended
	openErr error
	handles int // under registry.mu

	writer  *writer
	readers *readers
	watch   *watch
}

// registry holds the open files of this process by their real path.
var registry = struct {
	mu    sync.Mutex
	files map[string]*file
}{files: map[string]*file{}}

// Open opens a file. ctx bounds the opening only. The caller closes the DB.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Synchronous == "" {
		o.Synchronous = Normal
	}
	if o.Synchronous != Normal && o.Synchronous != Full {
		return nil, fmt.Errorf("synchronous is %q; it can be %q or %q", o.Synchronous, Normal, Full)
	}
	if o.BusyTimeout < 0 {
		return nil, fmt.Errorf("busy timeout is negative (%v)", o.BusyTimeout)
	}
	if o.BusyTimeout == 0 {
		o.BusyTimeout = 5 * time.Second
	}
	path, err := provide(o.Path)
	if err != nil {
		return nil, err
	}

	registry.mu.Lock()
	f, there := registry.files[path]
	if !there {
		f = &file{path: path, opened: make(chan struct{})}
		registry.files[path] = f
	}
	f.handles++
	if o.Synchronous == Full {
		f.full.Store(true)
	}
	f.busyTimeout.Store(max(f.busyTimeout.Load(), int64(o.BusyTimeout)))
	registry.mu.Unlock()

	db := &DB{f: f, closed: make(chan struct{})}
	if !there {
		f.openErr = f.open(ctx)
		if f.openErr != nil {
			forget(f)
		}
		close(f.opened)
	}
	select {
	case <-f.opened:
	case <-ctx.Done():
		_ = db.Close()
		return nil, fmt.Errorf("open %s: %w", path, ctx.Err())
	}
	if f.openErr != nil {
		return nil, f.openErr
	}
	return db, nil
}

// forget takes the file out of the registry, so that the next Open begins anew.
func forget(f *file) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if registry.files[f.path] == f {
		delete(registry.files, f.path)
	}
}

// provide makes the file and its folders where they are missing, readable by their owner
// alone, and returns its real path.
//
// It never opens a file that is there: closing it again would drop the locks that SQLite
// holds on it in this process, as is the way of POSIX.
func provide(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path of the database is empty")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return "", fmt.Errorf("%s is a folder; the path of the database must be a file", path)
	case err == nil && !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", path)
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return "", fmt.Errorf("cannot make the folder of the database: %w", err)
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			err = f.Close()
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("cannot make the database: %w", err)
		}
	case err != nil:
		return "", fmt.Errorf("cannot use the database: %w", err)
	}
	return filepath.EvalSymlinks(path)
}

// open connects the writer, brings the schema up and starts what serves the file.
func (f *file) open(ctx context.Context) error {
	c, err := connect(f.path)
	if err != nil {
		return describe(f.path, err)
	}
	start := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err = f.setUp(c)
		if !isBusy(err) {
			break
		}
		if waited := time.Since(start); waited >= time.Duration(f.busyTimeout.Load()) {
			err = locked(f.path, waited)
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			_ = c.close()
			return fmt.Errorf("open %s: %w", f.path, ctx.Err())
		}
	}
	if err != nil {
		_ = c.close()
		if strings.Contains(err.Error(), f.path) {
			return err // has been described
		}
		return describe(f.path, err)
	}
	f.watch = newWatch(f.path + "-wal")
	f.readers = newReaders(f)
	f.writer = newWriter(f, c)
	return nil
}

// setUp makes a connection the writer's: write-ahead log, schema. It can be repeated.
func (f *file) setUp(c *Conn) error {
	if ro, ok := c.raw.(interface{ IsReadOnly(string) (bool, error) }); ok {
		if readOnly, err := ro.IsReadOnly("main"); err == nil && readOnly {
			return fmt.Errorf("%s cannot be written; check the permissions of the file and its folder", f.path)
		}
	}
	// A file of another program is left exactly as it is, so look before touching.
	if _, err := checkFile(c, f.path); err != nil {
		return err
	}
	mode := ""
	if err := c.Query("PRAGMA journal_mode = wal", func(r Row) (bool, error) { mode = r.Text(0); return false, nil }); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("%s is on a file system on which SQLite cannot keep a write-ahead log (a network share?); choose a local path", f.path)
	}
	for _, q := range []string{
		"PRAGMA synchronous = normal",
		"PRAGMA wal_autocheckpoint = 4000", // pages: a page that changes often is copied less often
		"PRAGMA journal_size_limit = 67108864",
		"PRAGMA cache_size = -6000",
		"PRAGMA temp_store = memory",
	} {
		if _, err := c.Exec(q); err != nil {
			return err
		}
	}
	return migrate(c, f.path)
}

// Path returns the real path of the file.
func (db *DB) Path() string { return db.f.path }

// Close gives the handle back; the last one closes the file, after the writes that have
// begun. A second Close does nothing.
func (db *DB) Close() error {
	db.once.Do(func() {
		close(db.closed)
		registry.mu.Lock()
		db.f.handles--
		last := db.f.handles == 0
		if last && registry.files[db.f.path] == db.f {
			delete(registry.files, db.f.path)
		}
		registry.mu.Unlock()
		if last {
			db.err = db.f.close()
		}
	})
	return db.err
}

func (f *file) close() error {
	<-f.opened
	if f.openErr != nil {
		return nil
	}
	f.watch.close()
	err := f.readers.close()
	if werr := f.writer.close(); werr != nil {
		err = werr
	}
	if err != nil {
		return describe(f.path, err)
	}
	return nil
}

// usable returns ErrClosed after Close, and ctx's error after its end.
func (db *DB) usable(ctx context.Context) error {
	select {
	case <-db.closed:
		return fmt.Errorf("%s: %w", db.f.path, ErrClosed)
	default:
		return ctx.Err()
	}
}
