package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/host"
	"github.com/backplane/leptir/host/config"
)

func (p *program) validateCommand() *cobra.Command {
	var offline, asJSON bool
	cmd := &cobra.Command{
		Use:   "validate [flags]",
		Short: "Check the configuration file.",
		Long: "Check the configuration file, and show all that is wrong with it; the exit code is 1 then.\n\n" +
			"Of a file that is valid it is also noted what is not there (yet): the plugin folder, brokers and meta storages that cannot be opened, and limits of plugins that this machine does not enforce for who runs this command.",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.validate(cmd.Context(), offline, asJSON) },
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&offline, "offline", false, "look at the file only, and open nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, `print JSON: {"valid":BOOL, "file":PATH, "errors":[…], "notes":[…]}`)
	return cmd
}

// validation is what validate prints as JSON.
type validation struct {
	Valid  bool          `json:"valid"`
	File   string        `json:"file"`
	Errors []configError `json:"errors"`
	Notes  []string      `json:"notes"`
}

// configError is one thing that is wrong with the file. Line and Column are 0 where it is
// about the file as a whole.
type configError struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

func (p *program) validate(ctx context.Context, offline, asJSON bool) error {
	cfg, path, err := p.load()
	v := validation{Valid: err == nil, File: path, Errors: []configError{}, Notes: []string{}}
	broken, ok := errors.AsType[*config.Error](err)
	if err != nil && !ok {
		return err
	}
	if broken != nil {
		for _, d := range broken.Diagnostics() {
			e := configError{Message: d.Summary}
			if d.Subject != nil {
				e.Line, e.Column = d.Subject.Start.Line, d.Subject.Start.Column
			}
			v.Errors = append(v.Errors, e)
		}
	} else if !offline {
		v.Notes = append(v.Notes, notes(ctx, cfg)...)
	}
	if asJSON {
		return errors.Join(err, p.out.json(v, false))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "%s is valid\n", path)
	for _, note := range v.Notes {
		fmt.Fprintf(p.out, "note: %s\n", sentence(note))
	}
	return nil
}

// notes returns what a host would stumble over that is not in the file.
func notes(ctx context.Context, cfg *config.Config) (all []string) {
	dir := string(cfg.Host.PluginDir)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, os.ErrNotExist):
		all = append(all, fmt.Sprintf("plugin_dir %s does not exist", dir))
	case err != nil:
		all = append(all, fmt.Sprintf("plugin_dir: %v", err))
	case !info.IsDir():
		all = append(all, fmt.Sprintf("plugin_dir %s is not a folder", dir))
	}
	for _, gap := range host.LimitGaps(cfg) {
		all = append(all, gap.String())
	}
	report := gatherStatus(ctx, cfg)
	for _, b := range report.Brokers {
		if b.Error != "" {
			all = append(all, b.Error)
		}
	}
	for _, s := range report.MetaStorages {
		if s.Error != "" {
			all = append(all, s.Error)
		}
	}
	return all
}
