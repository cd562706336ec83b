package metastoretest

import (
	"math/rand/v2"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

// deliveryCases are about which of two records of a task stays.
var deliveryCases = []testCase{
	{"a lower delivery never replaces a higher", func(e *env) {
		s := e.open()
		id := task.NewID()
		for _, step := range []struct{ put, want int }{{0, 0}, {1, 1}, {0, 1}, {5, 5}, {4, 5}, {2, 5}, {10, 10}, {9, 10}, {0, 10}} {
			e.put(s, plain(id, step.put))
			require.Equal(e.T, step.want, e.get1(s, id).Run.Delivery, "after delivery %d", step.put)
		}
	}},
	{"an equal delivery replaces", func(e *env) {
		s := e.open()
		for _, delivery := range []int{0, 1, 7} {
			r := plain(task.NewID(), delivery)
			e.put(s, r)
			r.Status, r.RespM = task.Completed, "ended"
			e.put(s, r)
			e.same(r, e.get1(s, r.ID))
		}
	}},
	{"of several in one call", func(e *env) {
		s := e.open()
		a, b, c := task.NewID(), task.NewID(), task.NewID()
		last := plain(c, 2)
		last.RespM = "the later of two equal ones"
		e.put(s, plain(a, 1), plain(b, 3), plain(a, 2), plain(c, 2), plain(b, 2), last, plain(a, 1))
		got := e.get(s, a, b, c)
		require.Equal(e.T, 2, got[a].Run.Delivery)
		require.Equal(e.T, 3, got[b].Run.Delivery)
		require.Equal(e.T, last.RespM, got[c].RespM)
	}},
	{"others in the call are written", func(e *env) {
		s := e.open()
		old, fresh := task.NewID(), task.NewID()
		e.put(s, plain(old, 5))
		e.put(s, plain(old, 4), plain(fresh, 1))
		got := e.get(s, old, fresh)
		require.Equal(e.T, 5, got[old].Run.Delivery)
		require.Equal(e.T, 1, got[fresh].Run.Delivery)
	}},
	{"of many writers the highest wins", func(e *env) {
		stores := []metastore.Store{e.open(), e.open()}
		ids := make([]task.ID, 10)
		for i := range ids {
			ids[i] = task.NewID()
		}
		const writers, each = 6, 15
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(w), 1))
				for _, n := range rng.Perm(each) {
					delivery := 1 + w + n*writers // every delivery once, 1 to writers*each
					var rs []task.Record
					for _, i := range rng.Perm(len(ids)) { // locks taken in any order
						rs = append(rs, plain(ids[i], delivery))
					}
					if err := stores[w%2].Put(e.ctx(), rs); err != nil {
						e.Errorf("put: %v", err)
					}
				}
			})
		}
		wg.Wait()
		for id, r := range e.get(stores[0], ids...) {
			require.Equal(e.T, writers*each, r.Run.Delivery, "record %s", id)
			require.Equal(e.T, plain(id, writers*each).RespM, r.RespM)
		}
	}},
}
