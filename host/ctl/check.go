package ctl

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/backplane/leptir/host"
	"github.com/backplane/leptir/host/catalog"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/schema"
	"github.com/backplane/leptir/internal/suggest"
	"github.com/backplane/leptir/task"
)

// maxListed is how many task types a message lists.
const maxListed = 10

// checkTask refuses a task that nobody serves, or whose parameters are not what its plugin
// wants, as far as that is known on this machine. On one without plugins nothing is known,
// and every task is fine. A parameter of single that is to be a text is made one.
func checkTask(ctx context.Context, cfg *config.Config, t *task.Task, single params, stderr io.Writer) error {
	known, err := host.KnownTypes(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Fprintf(stderr, "leptirctl: pushing without a check, as it cannot be known what the plugins serve: %v\n", err)
		return nil
	}
	if len(known) == 0 {
		return nil
	}
	typ, ok := known[t.Type]
	if !ok {
		names := slices.Sorted(maps.Keys(known))
		text := fmt.Sprintf("no plugin in %s serves task type %q", cfg.Host.PluginDir, t.Type)
		if near := suggest.Name(t.Type, names); near != "" {
			text += fmt.Sprintf("; did you mean %s?", near)
		} else if len(names) > maxListed {
			text += "; some that are served: " + strings.Join(names[:maxListed], ", ")
		} else {
			text += "; what is served: " + strings.Join(names, ", ")
		}
		return usagef("%s (-force pushes it all the same)", text)
	}
	if err := fitParams(t, typ, single); err != nil {
		return usagef("%v (-force pushes it all the same)", err)
	}
	return nil
}

// fitParams reports what is wrong with the parameters of a task, as far as its plugin says
// what they are to be. A parameter of single that is to be a text is made one.
func fitParams(t *task.Task, typ catalog.KnownType, single params) error {
	s, err := schema.Compile(typ.ParamsSchema)
	if err != nil {
		return nil // the plugin checks them itself
	}
	if t.Params, err = single.asTexts(t.Params, s.WantsText); err != nil {
		return err
	}
	if err := s.Check(t.Params); err != nil {
		return fmt.Errorf("task type %q: %w", t.Type, err)
	}
	return nil
}
