package config_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	memorybroker "github.com/backplane/leptir/brokers/memory"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/logging"
	"github.com/backplane/leptir/metastore"
	memorystore "github.com/backplane/leptir/metastore/memory"
	"github.com/backplane/leptir/task"
)

// back is the settings of back ends in memory that can be opened.
type back struct {
	Down bool `config:"down" doc:"Whether it cannot be opened."`

	opened *[]string // what happens, in order
}

type backBroker struct{ back }

func (b *backBroker) Open(_ context.Context, env brokers.Env) (brokers.Broker, error) {
	if b.Down || env.Logger == nil {
		return nil, fmt.Errorf("broker %q: connection refused", env.Name)
	}
	*b.opened = append(*b.opened, fmt.Sprint("open ", env.Name, " ", env.Aliases["Old"]))
	return &closingBroker{memorybroker.New(), env.Name, b.opened}, nil
}

type closingBroker struct {
	*memorybroker.Broker
	name   string
	opened *[]string
}

func (b *closingBroker) Close() error {
	*b.opened = append(*b.opened, "close "+b.name)
	return b.Broker.Close()
}

type backStore struct{ back }

func (b *backStore) Open(_ context.Context, env metastore.Env) (metastore.Store, error) {
	if b.Down || env.Logger == nil {
		return nil, fmt.Errorf("meta storage %q: connection refused", env.Name)
	}
	*b.opened = append(*b.opened, "open "+env.Name)
	return &closingStore{memorystore.New(), env.Name, b.opened}, nil
}

type closingStore struct {
	*memorystore.Store
	name   string
	opened *[]string
}

func (s *closingStore) Close() error {
	*s.opened = append(*s.opened, "close "+s.name)
	return errors.Join(s.Store.Close(), errors.New("connection lost"))
}

// openable parses a configuration whose back ends can be opened. What happens to them
// stands in the list.
func openable(t *testing.T, hcl string) (*config.Config, *[]string) {
	t.Helper()
	happened := &[]string{}
	kinds := config.Kinds{
		Brokers:      brokers.NewRegistry(brokers.Kind{Name: "back", New: func() brokers.Settings { return &backBroker{back{opened: happened}} }}),
		MetaStorages: metastore.NewRegistry(metastore.Kind{Name: "back", New: func() metastore.Settings { return &backStore{back{opened: happened}} }}),
		Loggers:      logging.Standard(),
	}
	c, err := config.Parse([]byte(hcl), "leptir.hcl", kinds)
	require.NoError(t, err)
	return c, happened
}

func TestOpen(t *testing.T) {
	t.Parallel()
	c, happened := openable(t, `
task_alias = { Old = "new" }
broker "back" "a" {
  priority = 3
}
broker "back" "b" {}
meta_storage "back" "s" {
  on_failure = "drop"
}
`)
	bs, err := c.OpenBrokers(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, bs, 2)
	require.Equal(t, "a", bs[0].Name)
	require.Equal(t, 3, bs[0].Priority)
	require.Equal(t, "b", bs[1].Name)
	stores, err := c.OpenStores(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, stores, 1)
	require.Equal(t, config.OnFailureDrop, stores[0].OnFailure)
	require.Equal(t, []string{"open a new", "open b new", "open s"}, *happened)
}

func TestOpenClosesAllOnAnError(t *testing.T) {
	t.Parallel()
	c, happened := openable(t, `
broker "back" "a" {}
broker "back" "b" {}
broker "back" "c" {
  down = true
}
meta_storage "back" "s" {}
meta_storage "back" "t" {
  down = true
}
`)
	bs, err := c.OpenBrokers(t.Context(), nil)
	require.EqualError(t, err, `broker "c": connection refused`)
	require.Empty(t, bs)
	require.Equal(t, []string{"open a ", "open b ", "close a", "close b"}, *happened)
	*happened = nil
	_, err = c.OpenSet(t.Context(), nil)
	require.EqualError(t, err, `broker "c": connection refused`)
	require.Equal(t, []string{"open a ", "open b ", "close a", "close b"}, *happened)
	*happened = nil
	stores, err := c.OpenStores(t.Context(), nil)
	require.EqualError(t, err, "meta storage \"t\": connection refused\nand to close it again: connection lost")
	require.Empty(t, stores)
	require.Equal(t, []string{"open s", "close s"}, *happened)
}

func TestOpenSet(t *testing.T) {
	t.Parallel()
	c, happened := openable(t, `
broker "back" "usual" {}
broker "back" "bulk" {
  priority = 10
}
meta_storage "back" "s" {}
`)
	set, err := c.OpenSet(t.Context(), nil)
	require.NoError(t, err)
	_, err = set.PushTask(t.Context(), task.Task{Type: "x"}, time.Time{}, 5, 0)
	require.NoError(t, err)
	st, err := set.Members()[1].Broker.Stats(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, st.Ready)
	require.NoError(t, set.Close())
	require.Equal(t, []string{"open usual ", "open bulk ", "close usual", "close bulk"}, *happened)
}
