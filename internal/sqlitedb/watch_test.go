package sqlitedb

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const far = time.Hour

func never(context.Context) (time.Duration, error) { return far, nil }

func TestWait(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	require.NoError(t, db.Wait(t.Context(), func(context.Context) (time.Duration, error) { return 0, nil }), "due at once")

	looks := 0
	require.NoError(t, db.Wait(t.Context(), func(context.Context) (time.Duration, error) {
		looks++
		return time.Duration(2-looks) * 20 * time.Millisecond, nil
	}), "due by the clock")
	require.Equal(t, 2, looks)

	boom := errors.New("boom")
	require.ErrorIs(t, db.Wait(t.Context(), func(context.Context) (time.Duration, error) { return 0, boom }), boom)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, db.Wait(ctx, never), context.DeadlineExceeded)
}

// A change is told of a moment before it can be seen: the look that it causes can be too
// early, and there is no second notification.
func TestPace(t *testing.T) {
	t.Parallel()
	p := newPace()
	require.Equal(t, lookAgain, p.most, "there may have been a change just before")
	var looks int
	for sum := time.Duration(0); p.most < fallbackPoll; looks++ {
		require.LessOrEqual(t, p.least, p.most)
		if sum += p.most; sum < 500*time.Millisecond {
			require.LessOrEqual(t, p.most, sum+lookAgain, "a change that is late by so much is seen after twice the time")
		}
		p.looked(false)
	}
	require.Less(t, looks, 15, "and then it is left to the fallback")
	require.Equal(t, soonLook, p.least)

	p.looked(true)
	require.Equal(t, lookAgain, p.most, "after a change it looks again soon")
	var busy time.Duration
	for range 1000 {
		busy += p.least
		p.looked(true)
	}
	require.Greater(t, busy, 990*busyLook, "changes without end do not keep it busy")
	for range 10 {
		p.looked(false)
	}
	require.Equal(t, soonLook, p.least, "after a while of peace the first look is a quick one again")
}

// What can be seen only a moment after it was announced is seen soon, without another
// announcement.
func TestWaitLooksAgainSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "a.db")})
		require.NoError(t, err)
		defer db.Close()
		db.f.watch.tried = true // without the operating system's help
		time.Sleep(time.Minute)
		var visible, seen time.Time
		time.AfterFunc(time.Minute, func() {
			visible = time.Now().Add(3 * time.Millisecond)
			db.f.watch.announce()
		})
		require.NoError(t, db.Wait(t.Context(), func(context.Context) (time.Duration, error) {
			if seen = time.Now(); visible.IsZero() || seen.Before(visible) {
				return time.Hour, nil
			}
			return 0, nil
		}))
		require.Less(t, seen.Sub(visible), 10*time.Millisecond)
	})
}

// TestAnnounce tells wake-ups from the fallback poll by the channel that only they close.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	wakes := func(t *testing.T, db *DB, change func()) {
		t.Helper()
		w := db.f.watch
		w.join()
		defer w.leave()
		changed := w.next()
		change()
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody was told")
		}
	}
	t.Run("by this process", func(t *testing.T) {
		t.Parallel()
		db := fresh(t)
		db.f.watch.tried = true // without the operating system's help
		wakes(t, db, func() {
			require.NoError(t, db.Write(t.Context(), func(c *Conn) error { c.Announce(); return put("a", "{}")(c) }))
		})
	})
	t.Run("by another process", func(t *testing.T) {
		t.Parallel()
		db := fresh(t)
		c := other(t, db.Path())
		for _, id := range []string{"a", "b", "c"} {
			wakes(t, db, func() { require.NoError(t, put(id, "{}")(c)) })
		}
	})
	t.Run("not when it failed", func(t *testing.T) {
		t.Parallel()
		db := fresh(t)
		w := db.f.watch
		w.tried = true
		w.join()
		defer w.leave()
		changed := w.next()
		require.Error(t, db.Write(t.Context(), func(c *Conn) error { c.Announce(); return errors.New("no") }))
		require.NoError(t, db.Write(t.Context(), put("quiet", "{}")))
		select {
		case <-changed:
			t.Fatal("nothing was announced")
		default:
		}
	})
}

func TestWaitWithoutNotifications(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	db.f.watch.tried = true
	c := other(t, db.Path())
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		time.Sleep(20 * time.Millisecond)
		if _, err := c.Exec(`INSERT INTO info(id,delivery,at,record) VALUES('a',0,0,'')`); err != nil {
			t.Error(err)
		}
	})
	require.NoError(t, db.Wait(t.Context(), func(ctx context.Context) (time.Duration, error) {
		n := int64(0)
		err := db.Read(ctx, func(c *Conn) (err error) { n, err = c.Int("SELECT count(*) FROM info"); return err })
		return far * time.Duration(1-n), err
	}))
}

func TestCloseEndsWait(t *testing.T) {
	t.Parallel()
	db := fresh(t)
	errs := make(chan error, 1)
	looked := make(chan struct{}, 100)
	go func() {
		errs <- db.Wait(context.Background(), func(context.Context) (time.Duration, error) {
			looked <- struct{}{}
			return far, nil
		})
	}()
	<-looked
	require.NoError(t, db.Close())
	require.ErrorIs(t, <-errs, ErrClosed)
}
