package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hold keeps the writer busy, so that what is written meanwhile is committed together. It
// returns how to let it go on.
func hold(t *testing.T, db *DB) (release func()) {
	t.Helper()
	busy, free := make(chan struct{}), make(chan struct{})
	var once sync.Once // a write can be run again
	var wg sync.WaitGroup
	wg.Go(func() {
		err := db.Write(context.Background(), func(*Conn) error {
			once.Do(func() { close(busy) })
			<-free
			return nil
		})
		if err != nil {
			t.Errorf("hold: %v", err)
		}
	})
	<-busy
	return func() { close(free); wg.Wait() }
}

// waiting waits until so many writes are in the queue.
func waiting(t *testing.T, db *DB, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(db.f.writer.queue) == n }, 10*time.Second, time.Millisecond)
}

func TestOneFailureDoesNotFailTheOthers(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	require.NoError(t, db.Write(t.Context(), put("taken", "{}")))
	own := errors.New("my own")

	release := hold(t, db)
	errs := make([]error, 20)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			errs[i] = db.Write(context.Background(), func(c *Conn) error {
				if err := put(fmt.Sprint(i), "{}")(c); err != nil {
					return err
				}
				switch i % 5 {
				case 1:
					return put("taken", "{}")(c)
				case 2:
					return own
				}
				return nil
			})
		})
	}
	waiting(t, db, len(errs))
	release()
	wg.Wait()
	for i, err := range errs {
		switch i % 5 {
		case 1:
			require.ErrorContains(t, err, db.Path()+": constraint failed: UNIQUE constraint failed: info.id")
		case 2:
			require.ErrorIs(t, err, own)
		default:
			require.NoError(t, err)
		}
	}
	require.EqualValues(t, 1+12, count(t, db), "what failed must leave nothing behind")
}

func TestDiskFullFailsOnlyWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	limit := func(pages int) {
		require.NoError(t, db.Write(t.Context(), func(c *Conn) error { _, err := c.Exec(fmt.Sprint("PRAGMA max_page_count = ", pages)); return err }))
	}
	limit(30)
	release := hold(t, db)
	errs := make([]error, 9)
	var wg sync.WaitGroup
	for i := range errs {
		size := 100
		if i == 4 {
			size = 1 << 20
		}
		wg.Go(func() { errs[i] = db.Write(context.Background(), put(fmt.Sprint(i), strings.Repeat("x", size))) })
	}
	waiting(t, db, len(errs))
	release()
	wg.Wait()
	for i, err := range errs {
		if i == 4 {
			require.EqualError(t, err, db.Path()+": the disk is full; nothing was written, free some room and it works again: database or disk is full (13)")
		} else {
			require.NoError(t, err)
		}
	}
	require.EqualValues(t, 8, count(t, db))
	limit(1 << 20)
	require.NoError(t, db.Write(t.Context(), put("4", strings.Repeat("x", 1<<20))))
}

func TestDiskFullForReal(t *testing.T) {
	t.Parallel()
	dir := tmpfs(t, "size=1m")
	ballast := filepath.Join(dir, "ballast")
	writeFile(t, ballast, strings.Repeat("x", 500_000))
	db := open(t, Options{Path: filepath.Join(dir, "x.db")})
	n := 0
	var err error
	for err == nil && n < 1000 {
		if err = db.Write(t.Context(), put(fmt.Sprint(n), strings.Repeat("x", 20_000))); err == nil {
			n++
		}
	}
	require.ErrorContains(t, err, db.Path()+": the disk is full; nothing was written")
	require.Positive(t, n)
	require.EqualValues(t, n, count(t, db), "a disk that is full can be read")
	require.NoError(t, os.Remove(ballast))
	require.NoError(t, db.Write(t.Context(), put("again", strings.Repeat("x", 20_000))))
	require.EqualValues(t, n+1, count(t, db))
}

func TestLockedByAnotherProcess(t *testing.T) {
	t.Parallel()
	db := open(t, Options{Path: filepath.Join(t.TempDir(), "x.db"), BusyTimeout: 200 * time.Millisecond})
	c := other(t, db.Path())
	exec(t, c, "BEGIN IMMEDIATE")
	start := time.Now()
	errs := make([]error, 5)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = db.Write(context.Background(), put(fmt.Sprint(i), "{}")) })
	}
	wg.Wait()
	for _, err := range errs {
		require.Regexp(t, `x\.db is locked by another process \(waited \d+ms\)$`, err)
	}
	require.GreaterOrEqual(t, time.Since(start), 200*time.Millisecond)
	require.EqualValues(t, 0, count(t, db), "reading goes on")

	// A lock that is let go in time is waited for.
	long := open(t, Options{Path: db.Path(), BusyTimeout: time.Minute})
	done := make(chan error, 1)
	go func() { done <- long.Write(context.Background(), put("patient", "{}")) }()
	time.Sleep(300 * time.Millisecond)
	exec(t, c, "COMMIT")
	require.NoError(t, <-done)
}

func TestLockedAndTheCallerLeaves(t *testing.T) {
	t.Parallel()
	db := open(t, Options{Path: filepath.Join(t.TempDir(), "x.db"), BusyTimeout: time.Minute})
	c := other(t, db.Path())
	exec(t, c, "BEGIN IMMEDIATE")
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		require.ErrorIs(t, db.Write(ctx, put("never", "{}")), context.DeadlineExceeded)
		cancel()
	}
	exec(t, c, "ROLLBACK")
	require.NoError(t, db.Write(t.Context(), put("later", "{}")))
	require.EqualValues(t, 1, count(t, db), "what nobody waits for any more is not written")
}

func TestCloseWhileLocked(t *testing.T) {
	t.Parallel()
	db, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "x.db"), BusyTimeout: time.Minute})
	require.NoError(t, err)
	c := other(t, db.Path())
	exec(t, c, "BEGIN IMMEDIATE")
	errs := make(chan error, 3)
	for i := range cap(errs) {
		go func() { errs <- db.Write(context.Background(), put(fmt.Sprint(i), "{}")) }()
	}
	waiting(t, db, cap(errs)-1) // one is with the writer
	require.NoError(t, db.Close())
	for range cap(errs) {
		require.ErrorIs(t, <-errs, ErrClosed)
	}
	exec(t, c, "ROLLBACK")
}

func TestInserter(t *testing.T) {
	t.Parallel()
	in := NewInserter(4, "INSERT INTO info(id,delivery,at,record)", "ON CONFLICT(id) DO NOTHING")
	for _, n := range []int{0, 1, 31, 32, 33, 64, 100} {
		db := fresh(t)
		insert := func(from int) (changed int64) {
			require.NoError(t, db.Write(t.Context(), func(c *Conn) (err error) {
				changed, err = in.Insert(c, n, func(args []any, i int) []any {
					return append(args, fmt.Sprint(from+i), i, 7, "r\x00"+fmt.Sprint(from+i))
				})
				return err
			}))
			return changed
		}
		require.EqualValues(t, n, insert(0))
		require.EqualValues(t, n/2, insert(n/2), "those that are there do not count")
		want := 0
		require.NoError(t, db.Read(t.Context(), func(c *Conn) error {
			return c.Query(`SELECT id,record FROM info ORDER BY n`, func(r Row) (bool, error) {
				require.Equal(t, fmt.Sprint(want), r.Text(0), "in order")
				require.Equal(t, "r\x00"+fmt.Sprint(want), r.Text(1), "text with a NUL in it")
				want++
				return true, nil
			})
		}))
		require.Equal(t, n+n/2, want)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	err := db.Write(t.Context(), func(c *Conn) error { _, err := c.Exec(`SELECT ?,?`, 1, time.Now()); return err })
	require.ErrorContains(t, err, "argument 2 is a time.Time, which has no place in the database")
	require.NoError(t, db.Read(t.Context(), func(c *Conn) error {
		return c.Query(`SELECT ?,?,?,NULL,1.5`, func(r Row) (bool, error) {
			require.Equal(t, "a", r.Text(0))
			require.Equal(t, []byte("a"), r.Bytes(0))
			require.Equal(t, "b", r.Text(1))
			require.EqualValues(t, 7, r.Int(2))
			require.True(t, r.Null(3))
			require.Zero(t, r.Int(3))
			require.Empty(t, r.Text(3))
			require.Zero(t, r.Int(4), "a value of another type reads as zero")
			return true, nil
		}, "a", []byte("b"), 7)
	}))
}

func TestReadersCannotWrite(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	err := db.Read(t.Context(), put("a", "{}"))
	require.ErrorContains(t, err, "readonly")
	require.EqualValues(t, 0, count(t, db))
}

func TestReadIsInterrupted(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := db.Read(ctx, func(c *Conn) error {
		_, err := c.Int(`WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM r) SELECT count(*) FROM r`)
		return err
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.EqualValues(t, 0, count(t, db), "the connection can be used again")
}

func BenchmarkWrite(b *testing.B) {
	for _, mode := range []string{Normal, Full} {
		b.Run(mode, func(b *testing.B) {
			db, err := Open(context.Background(), Options{Path: filepath.Join(b.TempDir(), "x.db"), Synchronous: mode})
			require.NoError(b, err)
			defer db.Close()
			n := 0
			for b.Loop() {
				n++
				require.NoError(b, db.Write(context.Background(), put(fmt.Sprint(n), "{}")))
			}
		})
	}
}
