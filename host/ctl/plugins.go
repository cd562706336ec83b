package ctl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/host"
	"github.com/backplane/leptir/host/catalog"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/internal/suggest"
)

func (p *program) pluginsCommand() *cobra.Command {
	plugins := &cobra.Command{
		Use:   "plugins COMMAND [flags]",
		Short: "List the plugins, check them, and pin their binaries.",
		Long: "What a host serves is what it has last written down in its state folder; where no host has, or the plugin folder has changed since, " +
			"the plugins are started and asked.\n\n" +
			"A lock file, " + config.LockFileName + " beside the configuration file, pins binaries by their sha256: a host with one starts no other. " +
			"A plugin's dev_override skips its pin, with a warning.",
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("say what to do: the commands are %s", strings.Join(commandNames(cmd), ", "))
		},
	}
	plugins.AddCommand(p.pluginsList(), p.pluginsShow(), p.pluginsVerify(), p.pluginsLock(), p.pluginsReload())
	return plugins
}

func (p *program) pluginsList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "List the plugins and how they stand.",
		Args:  arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := p.lookAtPlugins(cmd.Context(), false)
			if err != nil {
				return err
			}
			return p.printPlugins(f, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object a line")
	return cmd
}

func (p *program) pluginsShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Print all that is known of a plugin, as JSON.",
		Args:  arguments("the NAME of the plugin"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := p.lookAtPlugins(cmd.Context(), false)
			if err != nil {
				return err
			}
			plugin, err := f.plugin(args[0])
			if err != nil {
				return err
			}
			return p.out.json(plugin, false)
		},
	}
}

func (p *program) pluginsVerify() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [NAME...] [flags]",
		Short: "Start each plugin, ask it what it serves, and check its file and its pin.",
		Long: "Check the plugins as a host would before it serves them: that nobody else can write to their files, that they are pinned where there is a lock file, " +
			"that they start, and what they serve. No host is disturbed. The exit code is 1 if one of them does not do.",
		RunE: func(cmd *cobra.Command, args []string) error { return p.verifyPlugins(cmd.Context(), args, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object a line")
	return cmd
}

func (p *program) pluginsLock() *cobra.Command {
	var add bool
	cmd := &cobra.Command{
		Use:   "lock [NAME...] [flags]",
		Short: "Pin the binaries that are in the plugin folder now, and print their sums.",
		Long: "Write the lock file: of the named plugins, or of all, each pinned to the binary that lies in the plugin folder now, once that has been checked. " +
			"Without names, plugins that are there no more are left out of it. Hosts heed it from their next reload on.",
		RunE: func(cmd *cobra.Command, args []string) error { return p.lockPlugins(cmd.Context(), args, add) },
	}
	cmd.Flags().BoolVar(&add, "add", false, "keep the sums that are pinned already beside the new ones, for the time of a change")
	return cmd
}

func (p *program) pluginsReload() *cobra.Command {
	var pid string
	timeout := time.Minute
	cmd := &cobra.Command{
		Use:   "reload [flags]",
		Short: "Have the host on this machine judge all plugins anew, and list them.",
		Long: "Have the host on this machine reload: it reads its configuration and the lock file anew, looks at the plugin folder, and tries plugins " +
			"again that did not come up. Then list the plugins. A host sees new and changed plugins by itself; this is for the impatient, and for lock files.",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.reloadPlugins(cmd.Context(), pid, timeout) },
	}
	hostFlags(cmd, &pid)
	cmd.Flags().Var(newValue(&timeout, "DURATION", duration), "timeout", "wait no longer than this (default: 1m)")
	return cmd
}

func (p *program) reloadPlugins(ctx context.Context, pid string, timeout time.Duration) error {
	cfg, _, err := p.load()
	if err != nil {
		return err
	}
	state := string(cfg.Host.StateDir)
	_, before := catalog.SavedPlugins(state)
	if err := p.reloadHost(ctx, pid, timeout); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(hostLook)
	defer tick.Stop()
	for {
		plugins, at := catalog.SavedPlugins(state)
		judged := !slices.ContainsFunc(plugins, func(s catalog.KnownPlugin) bool { return s.Status == catalog.StatusProbing })
		if at.After(before) && judged {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the host has not judged all plugins within %s; see them with: leptirctl plugins list", timeout)
		}
	}
	f, err := p.lookAtPlugins(ctx, false)
	if err != nil {
		return err
	}
	return p.printPlugins(f, false)
}

// pluginFolder is what is known of a plugin folder.
type pluginFolder struct {
	cfg     *config.Config
	lock    *config.Lock
	plugins []pluginState
}

// pluginState is one plugin as JSON.
type pluginState struct {
	catalog.KnownPlugin
	// Pin says what the lock file says of it: "pinned", "dev_override", or why it is not
	// pinned; empty without a lock file.
	Pin string `json:"pin,omitempty"`
	// TaskTypes are what it runs, with all that it says of them.
	TaskTypes map[string]catalog.KnownType `json:"task_types,omitempty"`
}

// lookAtPlugins finds out what the plugin folder of the configuration holds; afresh: by
// starting the plugins, whatever a host has written down.
func (p *program) lookAtPlugins(ctx context.Context, afresh bool) (*pluginFolder, error) {
	cfg, _, err := p.load()
	if err != nil {
		return nil, err
	}
	f := &pluginFolder{cfg: cfg}
	if f.lock, err = config.LoadLock(string(cfg.Host.PluginLock)); err != nil {
		return nil, err
	}
	state, dir := string(cfg.Host.StateDir), string(cfg.Host.PluginDir)
	types, known, err := catalog.Saved(state, dir)
	if err != nil {
		return nil, err
	}
	var plugins []catalog.KnownPlugin
	if known && !afresh {
		plugins, _ = catalog.SavedPlugins(state)
	} else if _, err := os.Stat(dir); err == nil {
		once, err := host.OpenOnce(ctx, cfg, "", slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		defer once.Close()
		plugins, types = once.Plugins().Known(), once.Plugins().Types()
	}
	for _, known := range plugins {
		s := pluginState{KnownPlugin: known, Pin: f.pin(known.Name, known.SHA256)}
		for name, typ := range types {
			if typ.Plugin == known.Name {
				if s.TaskTypes == nil {
					s.TaskTypes = map[string]catalog.KnownType{}
				}
				s.TaskTypes[name] = typ
			}
		}
		f.plugins = append(f.plugins, s)
	}
	return f, nil
}

// pin says what the lock file says of a binary.
func (f *pluginFolder) pin(name, sum string) string {
	err := f.lock.Check(name, sum)
	switch {
	case f.lock == nil || sum == "":
		return ""
	case err == nil:
		return "pinned"
	case f.cfg.Plugin(strings.TrimSuffix(name, filepath.Ext(name))).DevOverride:
		return "dev_override"
	}
	return err.Error()
}

// plugin returns the plugin of that name.
func (f *pluginFolder) plugin(name string) (*pluginState, error) {
	var names []string
	for i := range f.plugins {
		if f.plugins[i].Name == name {
			return &f.plugins[i], nil
		}
		names = append(names, f.plugins[i].Name)
	}
	text := fmt.Sprintf("there is no plugin %q in %s", shorten(name), f.cfg.Host.PluginDir)
	if near := suggest.Name(name, names); near != "" {
		return nil, fmt.Errorf("%s; did you mean %s?", text, near)
	}
	if len(names) > 0 {
		text += "; there are " + strings.Join(names, ", ")
	}
	return nil, errors.New(text)
}

// named returns the named plugins, or all.
func (f *pluginFolder) named(names []string) ([]*pluginState, error) {
	var all []*pluginState
	if len(names) == 0 {
		for i := range f.plugins {
			all = append(all, &f.plugins[i])
		}
		return all, nil
	}
	for _, name := range names {
		plugin, err := f.plugin(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, plugin) {
			all = append(all, plugin)
		}
	}
	return all, nil
}

func (p *program) printPlugins(f *pluginFolder, asJSON bool) error {
	if asJSON {
		for _, plugin := range f.plugins {
			plugin.TaskTypes = nil
			if err := p.out.json(plugin, true); err != nil {
				return err
			}
		}
		return nil
	}
	if len(f.plugins) == 0 {
		_, err := fmt.Fprintf(p.out, "there is no plugin in %s\n", f.cfg.Host.PluginDir)
		return err
	}
	rows := [][]string{{"NAME", "STATUS", "VERSION", "TYPES", "SHA256", "PIN", "PROBLEM"}}
	for _, s := range f.plugins {
		pin := s.Pin
		if pin != "" && pin != "pinned" && pin != "dev_override" {
			pin = "refused"
		}
		rows = append(rows, []string{s.Name, string(s.Status), dash(s.Version), fmt.Sprint(len(s.Types)), dash(s.SHA256[:min(12, len(s.SHA256))]), dash(pin), dash(s.Problem)})
	}
	return p.out.table(rows)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (p *program) verifyPlugins(ctx context.Context, names []string, asJSON bool) error {
	f, err := p.lookAtPlugins(ctx, true)
	if err != nil {
		return err
	}
	chosen, err := f.named(names)
	if err != nil {
		return err
	}
	f.plugins = slices.Collect(func(yield func(pluginState) bool) {
		for _, s := range chosen {
			if !yield(*s) {
				return
			}
		}
	})
	bad := 0
	for i := range f.plugins {
		s := &f.plugins[i]
		if s.Pin != "" && s.Pin != "pinned" && s.Pin != "dev_override" && s.Problem == "" {
			s.Status, s.Problem = catalog.StatusRefused, s.Pin
		}
		if s.Status != catalog.StatusReady {
			bad++
		}
	}
	if err := p.printPlugins(f, asJSON); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %s would not be served as it should be", bad, count(len(f.plugins), "plugin", "plugins"))
	}
	return nil
}

func (p *program) lockPlugins(ctx context.Context, names []string, add bool) error {
	f, err := p.lookAtPlugins(ctx, true)
	if err != nil {
		return err
	}
	chosen, err := f.named(names)
	if err != nil {
		return err
	}
	next := &config.Lock{Path: string(f.cfg.Host.PluginLock), Pins: map[string][]string{}}
	if f.lock != nil && (add || len(names) > 0) {
		next.Pins = maps.Clone(f.lock.Pins)
	}
	for _, s := range chosen {
		if s.SHA256 == "" || s.Status != catalog.StatusReady && s.Status != catalog.StatusConflict {
			return fmt.Errorf("plugin %q is not fit to be pinned: %s; nothing was written", s.Name, s.Problem)
		}
		sums := []string{s.SHA256}
		if add {
			sums = append(sums, slices.DeleteFunc(slices.Clone(next.Pins[s.Name]), func(sum string) bool { return sum == s.SHA256 })...)
		}
		next.Pins[s.Name] = sums
	}
	if err := next.Write(); err != nil {
		return err
	}
	for _, s := range chosen {
		if _, err := fmt.Fprintf(p.out, "%s  %s\n", s.SHA256, s.Name); err != nil {
			return err
		}
	}
	return nil
}
