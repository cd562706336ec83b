package daemon

import (
	"fmt"
	"strings"

	"github.com/backplane/leptir/host/config"
)

const referenceHead = `# Configuration

This page is made from the schema (` + "`go test ./host/daemon -update`" + `); a test keeps it true.

The file is HCL. An empty one is valid: every block and attribute has a default. Times are seconds
(fractions allowed) or texts like "1m30s"; 0 is none. Sizes are bytes or texts like "256MiB".
Relative paths are taken from the file's folder. ` + "`env(\"NAME\", \"default\")`" + ` reads the environment.
` + "`leptirctl validate`" + ` shows every mistake at once.

` + "```hcl" + `
host {
  number_of_workers = 4
  plugin_dir        = "bin/plugins"
}

broker "sqlite" "default" {
  path                    = "var/leptir.db"
  priority                = 0
  task_count_caching_time = 0.2
}

meta_storage "sqlite" "records" {
  path = "var/leptir.db"
}

logger "stderr" "console" {
  level = "info"
}

plugin "demo" {
  isolation = "pooled"
  max_tasks = 1000
}
` + "```" + `
`

// Reference returns the reference of the configuration file as Markdown.
func Reference(kinds config.Kinds) string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, doc := range config.Describe(kinds) {
		writeBlock(&b, doc, "##", "")
	}
	return b.String()
}

func writeBlock(b *strings.Builder, doc config.BlockDoc, level, within string) {
	title := "Top level"
	switch {
	case doc.Kind != "":
		title = fmt.Sprintf("`%s \"%s\" \"…\" {}`", doc.Name, doc.Kind)
	case len(doc.Labels) > 0:
		title = fmt.Sprintf("`%s \"…\" {}`", doc.Name)
	case doc.Name != "":
		title = fmt.Sprintf("`%s {}`", doc.Name)
	}
	fmt.Fprintf(b, "\n%s %s%s\n\n%s\n", level, title, within, doc.Doc)
	if len(doc.Attributes) > 0 {
		b.WriteString("\n| name | type | default | meaning |\n|---|---|---|---|\n")
	}
	for _, a := range doc.Attributes {
		def := a.Default
		switch {
		case a.Required:
			def = "(must be given)"
		case def != "" && !a.DefaultInWords:
			def = "`" + def + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", a.Name, cell(a.Type), cell(def), cell(a.Doc))
	}
	for _, inner := range doc.Blocks {
		writeBlock(b, inner, level+"#", " in "+title)
	}
}

// cell makes a text fit into a cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s)
}
