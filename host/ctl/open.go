package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/config/standard"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

// kinds returns the kinds of back ends that a configuration may name.
func kinds() config.Kinds { return standard.Kinds() }

// load finds and reads the configuration file, and returns its path as people know it.
func (p *program) load() (*config.Config, string, error) {
	path, err := config.Find(p.config)
	if err != nil {
		if errors.Is(err, config.ErrNoFile) {
			err = fmt.Errorf("%w; name one with -config FILE", err)
		}
		return nil, "", err
	}
	cfg, err := config.Load(path, kinds())
	return cfg, path, err
}

// openForPush opens the broker that tasks of the given priority go to, and no other: the
// others may be down.
func openForPush(ctx context.Context, cfg *config.Config, priority int) (*brokers.Set, error) {
	priorities := make([]int, len(cfg.Brokers))
	for i, b := range cfg.Brokers {
		priorities[i] = b.Priority
	}
	only := *cfg
	only.Brokers = cfg.Brokers[brokers.ForPush(priorities, priority):][:1]
	return only.OpenSet(ctx, nil)
}

// recordsPerCall is the most records asked for in one call of a store.
const recordsPerCall = 1000

// stores are the meta storages of a configuration, as far as they could be opened. They
// are for one goroutine.
type stores struct {
	open   []metastore.Store
	closed error // why the others could not be opened
	// trouble is why some stores did not answer the latest get.
	trouble error
}

// openStores opens the meta storages. It fails only if none can be opened: each has every
// record.
func openStores(ctx context.Context, cfg *config.Config) (*stores, error) {
	s := &stores{}
	for _, block := range cfg.MetaStorages {
		opened, err := cfg.OpenStore(ctx, block, nil)
		if err != nil {
			s.closed = errors.Join(s.closed, err)
			continue
		}
		s.open = append(s.open, opened.Handle)
	}
	if len(s.open) == 0 {
		return nil, s.closed
	}
	return s, nil
}

// close closes the stores. Nothing was written, so nothing is lost where it fails.
func (s *stores) close() {
	for _, store := range s.open {
		_ = store.Close()
	}
}

// get adds the records of ids to found, each from the first store that has it. It fails
// only if a record is missing and no store answers, or with ctx.
func (s *stores) get(ctx context.Context, ids []task.ID, found map[task.ID]task.Record) error {
	s.trouble = s.closed
	answered := false
	for _, store := range s.open {
		rest := missing(ids, found)
		if len(rest) == 0 {
			return nil
		}
		if err := getFrom(ctx, store, rest, found); err != nil {
			if ctx.Err() != nil {
				return ctx.Err() // says nothing of the store
			}
			s.trouble = errors.Join(s.trouble, err)
			continue
		}
		answered = true
	}
	if !answered {
		return s.trouble
	}
	return nil
}

// getFrom adds the records that one store has.
func getFrom(ctx context.Context, store metastore.Store, ids []task.ID, found map[task.ID]task.Record) error {
	for chunk := range slices.Chunk(ids, recordsPerCall) {
		records, err := store.Get(ctx, chunk)
		if err != nil {
			return err
		}
		for _, r := range records {
			found[r.ID] = r
		}
	}
	return nil
}

// put writes a record to every store that could be opened. It fails if one does not take it.
func (s *stores) put(ctx context.Context, r task.Record) error {
	err := s.closed
	for _, store := range s.open {
		err = errors.Join(err, store.Put(ctx, []task.Record{r}))
	}
	return err
}

func missing(ids []task.ID, found map[task.ID]task.Record) (rest []task.ID) {
	for _, id := range ids {
		if _, ok := found[id]; !ok {
			rest = append(rest, id)
		}
	}
	return rest
}
