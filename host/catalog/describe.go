package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

// What a plugin may say of itself at most.
const (
	maxTypes        = 1000
	maxSchemaBytes  = 256 << 10
	maxVersionBytes = 100
	maxDocBytes     = 500
	maxProblemBytes = 1000
)

// description is what a binary has said of itself, checked.
type description struct {
	types                       []Type // none, of one that is an error reporter only
	errorReporter               bool
	version, commit, sdkVersion string
}

// checkDescription turns a plugin's answer to Describe, which may hold anything, into
// something that can be relied on and shown.
func checkDescription(d *pluginpb.DescribeResponse) (description, error) {
	tasks := d.GetTasks()
	if len(tasks) == 0 && !d.GetErrorReporter() {
		return description{}, errors.New("it serves no task types")
	}
	if len(tasks) > maxTypes {
		return description{}, fmt.Errorf("it says that it serves %d task types, at most %d are allowed", len(tasks), maxTypes)
	}
	types := make([]Type, 0, len(tasks))
	for i, t := range tasks {
		name := t.GetName()
		if err := task.ValidateType(name); err != nil {
			return description{}, fmt.Errorf("its task type number %d: %w", i+1, err)
		}
		schema := t.GetParamsSchema()
		if len(schema) > maxSchemaBytes {
			return description{}, fmt.Errorf("the schema of its task type %q is %d bytes, at most %d are allowed", name, len(schema), maxSchemaBytes)
		}
		if len(schema) > 0 && !json.Valid(schema) {
			return description{}, fmt.Errorf("the schema of its task type %q is not valid JSON", name)
		}
		typ := Type{Name: name, Doc: clean(t.GetDoc(), maxDocBytes), Revertible: t.GetRevertible()}
		if len(schema) > 0 {
			typ.ParamsSchema = schema
		}
		types = append(types, typ)
	}
	slices.SortFunc(types, func(a, b Type) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(types); i++ {
		if types[i].Name == types[i-1].Name {
			return description{}, fmt.Errorf("it names task type %q twice", types[i].Name)
		}
	}
	return description{types: types, errorReporter: d.GetErrorReporter(), version: clean(d.GetVersion(), maxVersionBytes),
		commit: clean(d.GetCommit(), maxVersionBytes), sdkVersion: clean(d.GetSdkVersion(), maxVersionBytes)}, nil
}

// clean makes a text that came from outside fit to be shown on one line: valid UTF-8,
// nothing but printable characters and single spaces, at most limit bytes.
func clean(s string, limit int) string {
	var b strings.Builder
	space := false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			space = b.Len() > 0
			continue
		case !unicode.IsPrint(r):
			r = unicode.ReplacementChar
		}
		if b.Len()+len(" ")+len(string(r))+len("…") > limit {
			b.WriteString("…")
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}
