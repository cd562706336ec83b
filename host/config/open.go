package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/metastore"
)

// OpenBroker is a broker block and the opened broker.
type OpenBroker struct {
	Broker
	// Handle is the broker itself; whoever opened it closes it.
	Handle brokers.Broker
}

// OpenStore is a meta_storage block and the opened store.
type OpenStore struct {
	MetaStorage
	// Handle is the store itself; whoever opened it closes it.
	Handle metastore.Store
}

// OpenBroker opens the broker of one block. ctx bounds the opening only; a nil logger
// discards what the broker has to say by itself.
func (c *Config) OpenBroker(ctx context.Context, b Broker, logger *slog.Logger) (OpenBroker, error) {
	handle, err := b.Settings.Open(ctx, brokers.Env{Name: b.Name, Logger: orDiscard(logger), Aliases: c.TaskAlias})
	if err != nil {
		return OpenBroker{}, err
	}
	return OpenBroker{b, handle}, nil
}

// OpenBrokers opens the brokers of all blocks, in the order of the file. If one cannot be
// opened, the others are closed again.
func (c *Config) OpenBrokers(ctx context.Context, logger *slog.Logger) ([]OpenBroker, error) {
	opened := make([]OpenBroker, 0, len(c.Brokers))
	for _, block := range c.Brokers {
		b, err := c.OpenBroker(ctx, block, logger)
		if err != nil {
			for _, b := range opened {
				err = alsoClose(err, b.Handle)
			}
			return nil, err
		}
		opened = append(opened, b)
	}
	return opened, nil
}

// OpenSet opens the brokers of all blocks as a set that tasks can be pushed to. The caller
// closes it.
func (c *Config) OpenSet(ctx context.Context, logger *slog.Logger) (*brokers.Set, error) {
	sources := make([]brokers.Source, len(c.Brokers))
	for i, b := range c.Brokers {
		sources[i] = brokers.Source{Name: b.Name, Kind: b.Kind, Priority: b.Priority, Settings: b.Settings}
	}
	return brokers.Open(ctx, brokers.Env{Logger: logger, Aliases: c.TaskAlias}, sources...)
}

// OpenStore opens the store of one block. ctx bounds the opening only; a nil logger
// discards what the store has to say by itself.
func (c *Config) OpenStore(ctx context.Context, s MetaStorage, logger *slog.Logger) (OpenStore, error) {
	handle, err := s.Settings.Open(ctx, metastore.Env{Name: s.Name, Logger: orDiscard(logger)})
	if err != nil {
		return OpenStore{}, err
	}
	return OpenStore{s, handle}, nil
}

// OpenStores opens the stores of all blocks, in the order of the file. If one cannot be
// opened, the others are closed again.
func (c *Config) OpenStores(ctx context.Context, logger *slog.Logger) ([]OpenStore, error) {
	opened := make([]OpenStore, 0, len(c.MetaStorages))
	for _, block := range c.MetaStorages {
		s, err := c.OpenStore(ctx, block, logger)
		if err != nil {
			for _, s := range opened {
				err = alsoClose(err, s.Handle)
			}
			return nil, err
		}
		opened = append(opened, s)
	}
	return opened, nil
}

// alsoClose closes what was opened before an error, and joins what goes wrong there.
func alsoClose(err error, c interface{ Close() error }) error {
	if closeErr := c.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("and to close it again: %w", closeErr))
	}
	return err
}

func orDiscard(logger *slog.Logger) *slog.Logger {
	if logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return logger
}
