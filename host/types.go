package host

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync/atomic"

	"github.com/backplane/leptir/host/catalog"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/schema"
	"github.com/backplane/leptir/task"
)

// types is what the dispatcher must know of the task types that are served. It is safe for
// concurrent use.
type types struct {
	current atomic.Pointer[map[string]taskType]
}

type taskType struct {
	schema     *schema.Schema
	source     string // what schema was made from
	revertible bool
}

// set takes up what is served now. A schema that cannot be used is told of once.
func (t *types) set(served map[string]catalog.KnownType, logger *slog.Logger) {
	var before map[string]taskType
	if p := t.current.Load(); p != nil {
		before = *p
	}
	now := make(map[string]taskType, len(served))
	for name, k := range served {
		typ, ok := before[name]
		if source := string(k.ParamsSchema); !ok || typ.source != source {
			var err error
			typ.source = source
			typ.schema, err = schema.Compile(k.ParamsSchema)
			switch {
			case errors.Is(err, schema.ErrUnchecked):
				logger.Info("parameters are not checked before a task runs", "type", name, "plugin", k.Plugin, "reason", err)
			case err != nil:
				logger.Warn("parameters are not checked before a task runs: the plugin's schema is of no use", "type", name, "plugin", k.Plugin, "error", err)
			}
		}
		typ.revertible = k.Revertible
		now[name] = typ
	}
	t.current.Store(&now)
}

func (t *types) get(name string) taskType {
	if p := t.current.Load(); p != nil {
		return (*p)[name]
	}
	return taskType{}
}

// check reports what is wrong with a task's parameters, as far as its plugin says what
// they are to be.
func (t *types) check(task *task.Task) error { return t.get(task.Type).schema.Check(task.Params) }

// revertible reports whether there may be a task that undoes one of that type.
func (t *types) revertible(name string) bool { return t.get(name).revertible }

// KnownTypes returns the task types that the plugin folder of a configuration serves, by
// name, for programs that run no host. What a host has written down is enough, if the
// folder is as it was; else the plugins are started and asked. None and no error: there is
// no plugin that could be asked, as on a machine that only pushes tasks.
func KnownTypes(ctx context.Context, cfg *config.Config) (map[string]catalog.KnownType, error) {
	state, dir := string(cfg.Host.StateDir), string(cfg.Host.PluginDir)
	known, ok, err := catalog.Saved(state, dir)
	if ok || err != nil {
		return known, err
	}
	once, err := OpenOnce(ctx, cfg, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer once.Close()
	snapshot := once.Plugins()
	// The next one is spared the starts; where that cannot be, it is not.
	_ = snapshot.Save(state, dir)
	return maps.Clone(snapshot.Types()), nil
}
