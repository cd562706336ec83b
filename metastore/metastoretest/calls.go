package metastoretest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

// callCases are about the calls: sizes, handles, contexts, closing.
var callCases = []testCase{
	{"nothing", func(e *env) {
		s := e.open()
		require.NoError(e.T, s.Put(e.ctx(), nil))
		require.NoError(e.T, s.Put(e.ctx(), []task.Record{}))
		require.Empty(e.T, e.get(s))
	}},
	{"missing ids are left out", func(e *env) {
		s := e.open()
		require.Empty(e.T, e.get(s, "not-there"))
		a, b := plain(task.NewID(), 1), plain(task.NewID(), 1)
		e.put(s, a, b)
		got := e.get(s, "not-there", a.ID, task.NewID(), b.ID, "")
		require.Len(e.T, got, 2)
		e.same(a, got[a.ID])
		e.same(b, got[b.ID])
	}},
	{"a thousand at once", func(e *env) {
		s := e.open()
		var rs []task.Record
		var ids []task.ID
		for i := range 1000 {
			r := plain(task.NewID(), i)
			rs, ids = append(rs, r), append(ids, r.ID)
		}
		e.put(s, rs...)
		got := e.get(s, ids...)
		require.Len(e.T, got, len(rs))
		for _, r := range rs {
			e.same(r, got[r.ID])
		}
		e.put(s, rs...)
	}},
	{"seen by another handle", func(e *env) {
		a, b := e.open(), e.open()
		r := record(1)
		e.put(a, r)
		e.same(r, e.get1(b, r.ID))
		e.put(b, plain(r.ID, 2))
		require.Equal(e.T, 2, e.get1(a, r.ID).Run.Delivery)
	}},
	{"outlives its handle", func(e *env) {
		a := e.open()
		r := record(1)
		e.put(a, r)
		require.NoError(e.T, a.Close())
		e.same(r, e.get1(e.open(), r.ID))
	}},
	{"many writers and readers", func(e *env) {
		stores := []metastore.Store{e.open(), e.open()}
		var (
			mu  sync.Mutex
			all []task.ID
			wg  sync.WaitGroup
		)
		for w := range 6 {
			s := stores[w%2]
			wg.Go(func() {
				for range 10 {
					var rs []task.Record
					var ids []task.ID
					for range 10 {
						r := plain(task.NewID(), 1)
						rs, ids = append(rs, r), append(ids, r.ID)
					}
					if err := s.Put(e.ctx(), rs); err != nil {
						e.Errorf("put: %v", err)
					}
					if got, err := s.Get(e.ctx(), ids); err != nil || len(got) != len(ids) {
						e.Errorf("get of what was just put: %d of %d, %v", len(got), len(ids), err)
					}
					mu.Lock()
					all = append(all, ids...)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.Len(e.T, e.get(stores[0], all...), 600)
	}},
	{"a ctx that has ended", func(e *env) {
		s := e.open()
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		r := plain(task.NewID(), 1)
		require.ErrorIs(e.T, s.Put(ctx, []task.Record{r}), context.Canceled)
		_, err := s.Get(ctx, []task.ID{r.ID})
		require.ErrorIs(e.T, err, context.Canceled)
		e.put(s, r)
	}},
	{"a ctx that ends half-way", func(e *env) {
		s := e.open()
		var all []task.Record
		for range 40 {
			var rs []task.Record
			for range 10 {
				rs = append(rs, plain(task.NewID(), 1))
			}
			all = append(all, rs...)
			ctx, cancel := context.WithTimeout(e.Context(), rand.N(1500*time.Microsecond))
			err := s.Put(ctx, rs)
			cancel()
			require.True(e.T, err == nil || errors.Is(err, context.DeadlineExceeded), "%v", err)
		}
		e.put(s, all...)
		var ids []task.ID
		for _, r := range all {
			ids = append(ids, r.ID)
		}
		require.Len(e.T, e.get(s, ids...), len(all))
	}},
	{"use after close", func(e *env) {
		a, b := e.open(), e.open()
		r := plain(task.NewID(), 1)
		e.put(a, r)
		require.NoError(e.T, a.Close())
		require.NoError(e.T, a.Close(), "a second Close does nothing")
		require.ErrorIs(e.T, a.Put(e.ctx(), []task.Record{r}), metastore.ErrClosed)
		_, err := a.Get(e.ctx(), []task.ID{r.ID})
		require.ErrorIs(e.T, err, metastore.ErrClosed)
		e.same(r, e.get1(b, r.ID))
	}},
	{"close in the middle of work", func(e *env) {
		s := e.open()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					r := plain(task.NewID(), 1)
					err := s.Put(context.Background(), []task.Record{r})
					if err == nil {
						_, err = s.Get(context.Background(), []task.ID{r.ID})
					}
					if err != nil {
						if !errors.Is(err, metastore.ErrClosed) {
							e.Errorf("error of a call that Close met half-way: %v", err)
						}
						return
					}
				}
			})
		}
		time.Sleep(20 * time.Millisecond)
		require.NoError(e.T, s.Close())
		wg.Wait()
	}},
}
