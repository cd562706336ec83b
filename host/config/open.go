package config

import (
	"context"
	"log/slog"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/metastore"
)

// OpenBroker is a broker of the configuration, opened.
type OpenBroker struct {
	Broker
	Handle brokers.Broker
}

// OpenStore is a meta storage of the configuration, opened.
type OpenStore struct {
	MetaStorage
	Handle metastore.Store
}

// OpenBrokers opens all brokers, in the order of the configuration. The caller closes them;
// on an error none is left open. ctx bounds the opening only.
func (c *Config) OpenBrokers(ctx context.Context, logger *slog.Logger) (all []OpenBroker, err error) {
	defer func() {
		if err != nil {
			for _, b := range all {
				_ = b.Handle.Close()
			}
			all = nil
		}
	}()
	for _, b := range c.Brokers {
		h, err := b.Settings.Open(ctx, brokers.Env{Name: b.Name, Logger: logger, Aliases: c.TaskAlias})
		if err != nil {
			return all, err
		}
		all = append(all, OpenBroker{b, h})
	}
	return all, nil
}

// OpenStores opens all meta storages, in the order of the configuration. The caller closes
// them; on an error none is left open. ctx bounds the opening only.
func (c *Config) OpenStores(ctx context.Context, logger *slog.Logger) (all []OpenStore, err error) {
	defer func() {
		if err != nil {
			for _, s := range all {
				_ = s.Handle.Close()
			}
			all = nil
		}
	}()
	for _, s := range c.MetaStorages {
		h, err := s.Settings.Open(ctx, metastore.Env{Name: s.Name, Logger: logger})
		if err != nil {
			return all, err
		}
		all = append(all, OpenStore{s, h})
	}
	return all, nil
}
