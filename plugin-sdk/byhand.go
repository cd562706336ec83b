package sdk

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/backplane/leptir/internal/protocol"
)

// description is what -describe prints.
type description struct {
	Name     string            `json:"name"`
	Version  string            `json:"version,omitempty"`
	Commit   string            `json:"commit,omitempty"`
	SDK      string            `json:"sdk"`
	Protocol int               `json:"protocol"`
	Tasks    []taskDescription `json:"tasks"`

	ErrorReporter bool `json:"error_reporter,omitempty"`
}

type taskDescription struct {
	Name       string `json:"name"`
	Doc        string `json:"doc,omitempty"`
	Revertible bool   `json:"revertible,omitempty"`

	ParamsSchema json.RawMessage `json:"params_schema,omitempty"`
}

// runByHand is the program where no host has started it: it says what it is. It returns
// the exit code.
func runByHand(p *Plugin, args []string, stdout, stderr io.Writer) int {
	name := p.Name
	if len(args) > 0 {
		name, args = filepath.Base(args[0]), args[1:]
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	asJSON := flags.Bool("describe", false, "print what the plugin serves as JSON")
	flags.Usage = func() { about(p, name, stderr) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if !*asJSON {
		about(p, name, stdout)
		return 0
	}
	d := p.describe()
	out := description{Name: d.Name, Version: d.Version, Commit: d.Commit, SDK: d.SdkVersion, Protocol: protocol.Version,
		ErrorReporter: d.ErrorReporter}
	for _, t := range d.Tasks {
		out.Tasks = append(out.Tasks, taskDescription{t.Name, t.Doc, t.Revertible, t.ParamsSchema})
	}
	enc := json.NewEncoder(stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// about prints for people what the plugin is and how it is used.
func about(p *Plugin, name string, w io.Writer) {
	d := p.describe()
	fmt.Fprintf(w, "%s is a plugin for leptir (%s %s). It is started by a leptir host, not by hand.\n", name, d.Name, d.Version)
	if len(d.Tasks) > 0 {
		fmt.Fprint(w, "\nIts tasks:\n")
	}
	width := 0
	for _, t := range d.Tasks {
		width = max(width, len(t.Name))
	}
	for _, t := range d.Tasks {
		fmt.Fprintf(w, "  %-*s  %s\n", width, t.Name, t.Doc)
	}
	if d.ErrorReporter {
		fmt.Fprint(w, "\nIt is an error reporter.\n")
	}
	fmt.Fprint(w, "\nTo use it, put this file into the plugin_dir of a host's leptir.hcl; the host finds it there.\n")
	if len(d.Tasks) > 0 {
		fmt.Fprintf(w, "Then push a task:\n  leptirctl push %s\n", d.Tasks[0].Name)
	}
	if d.ErrorReporter {
		plugin := strings.TrimSuffix(name, filepath.Ext(name))
		fmt.Fprintf(w, "To have errors reported by it, add to leptir.hcl:\n  error_reporting \"plugin\" %q {\n    plugin = %q\n  }\n", plugin, plugin)
	}
	fmt.Fprint(w, "\n  -describe   print the above as JSON\n")
}
