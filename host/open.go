package host

import (
	"context"
	"sync"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/metastore"
)

// openBackends opens all brokers and stores at the same time. One that cannot be opened
// fails the host, or is tried again in the background while the others are served, as its
// block says. What has been opened is in h whatever the result.
func (h *Host) openBackends(ctx context.Context) error {
	h.brokers = make([]config.OpenBroker, len(h.cfg.Brokers))
	h.stores = make([]config.OpenStore, len(h.cfg.MetaStorages))
	errs := make([]error, len(h.brokers)+len(h.stores))
	var wg sync.WaitGroup
	for i, block := range h.cfg.Brokers {
		wg.Go(func() {
			open := func(ctx context.Context) (brokers.Broker, error) {
				b, err := h.cfg.OpenBroker(ctx, block, h.logger)
				return b.Handle, err
			}
			h.brokers[i].Broker = block
			b, late, err := openNow(ctx, h, block.Name, block.OnStartFailure, open)
			if late != nil {
				b = lateBroker{late}
			}
			h.brokers[i].Handle, errs[i] = b, err
		})
	}
	for i, block := range h.cfg.MetaStorages {
		wg.Go(func() {
			open := func(ctx context.Context) (metastore.Store, error) {
				s, err := h.cfg.OpenStore(ctx, block, h.logger)
				return s.Handle, err
			}
			h.stores[i].MetaStorage = block
			s, late, err := openNow(ctx, h, block.Name, block.OnStartFailure, open)
			if late != nil {
				s = lateStore{late}
			}
			h.stores[i].Handle, errs[len(h.brokers)+i] = s, err
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// openNow opens something, or makes it late if it may be.
func openNow[T any](ctx context.Context, h *Host, name, onFailure string, open func(context.Context) (T, error)) (T, *late[T], error) {
	first, cancel := context.WithTimeout(ctx, firstOpen)
	defer cancel()
	opened, err := open(first)
	if err == nil || onFailure != config.OnStartFailureWait {
		return opened, nil, err
	}
	h.logger.Error("cannot be reached at the start; the host goes on without it and tries again", "name", name, "error", err)
	return opened, newLate(name, err, h.logger, open), nil
}
