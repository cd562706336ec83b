// Package schema owns the check of a task's parameters against the JSON Schema that its
// plugin publishes, so that bad parameters are refused before anything runs. Schemas come
// from plugins, and parameters from producers: both are hostile until proven otherwise, so
// what a check may cost is bounded. It knows nothing of plugins, tasks or brokers.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

const (
	// maxCost bounds the work of one check: values in the schema times bytes of parameters.
	maxCost = 32 << 20
	// maxProblems is how many problems of one task's parameters are named.
	maxProblems = 5
	// maxShown is how many bytes of a name or value are shown in an error.
	maxShown = 64
	// maxDepth is how deep values may stand within each other, in a schema and in parameters.
	maxDepth = 100
)

// ErrUnchecked is wrapped by the error of Compile for a schema that is a proper one, but
// has something in it that a host does not check: the work could not be bounded. The plugin
// checks its parameters itself.
var ErrUnchecked = errors.New("left to the plugin to check")

// A Schema checks parameters. It is safe for concurrent use.
type Schema struct {
	compiled *jsonschema.Schema
	values   int             // in the schema
	texts    map[string]bool // the parameters that are texts and nothing else
}

// Compile makes a Schema from the JSON Schema that a plugin publishes for a task type. A nil
// Schema and no error is returned for an empty text: anything goes.
func Compile(text []byte) (s *Schema, err error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	defer func() {
		if r := recover(); r != nil { // a library that reads what strangers write
			s, err = nil, fmt.Errorf("the schema cannot be read: %v", r)
		}
	}()
	if err := tooDeep(text); err != nil {
		return nil, fmt.Errorf("the schema cannot be read: %w", err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("the schema cannot be read: %w", err)
	}
	if number := immense(doc); number != "" {
		return nil, fmt.Errorf("the schema cannot be read: the number %s is out of range", shown(number, maxShown))
	}
	values, err := measure(doc)
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	const name = "plugin:/params.json"
	if err := c.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("the schema cannot be read: %w", err)
	}
	compiled, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("it is no JSON Schema: %w", err)
	}
	return &Schema{compiled: compiled, values: values, texts: texts(doc)}, nil
}

// texts returns the parameters that are to be texts, or left out, by the schema.
func texts(doc any) map[string]bool {
	all := map[string]bool{}
	root, _ := doc.(map[string]any)
	properties, _ := root["properties"].(map[string]any)
	for name, p := range properties {
		property, _ := p.(map[string]any)
		switch types := property["type"].(type) {
		case string:
			all[name] = types == "string"
		case []any:
			for _, typ := range types {
				if typ != "null" {
					all[name] = typ == "string" && (all[name] || !has(all, name))
				}
			}
		}
	}
	return all
}

func has(all map[string]bool, name string) bool {
	_, ok := all[name]
	return ok
}

// WantsText reports whether a parameter is to be a text and nothing else, so that 5, given
// where no type can be, means "5".
func (s *Schema) WantsText(name string) bool { return s != nil && s.texts[name] }

// noLoader keeps a schema from reading files or the network.
type noLoader struct{}

// Load fails.
func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%q: a schema must not refer to another document", url)
}

// measure counts the values of a schema, the bytes of its patterns among them, and refuses
// what could make a check cost more than in proportion to them.
func measure(v any) (n int, err error) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			switch key {
			case "$ref", "$dynamicRef", "$recursiveRef":
				if _, ok := inner.(string); ok {
					return 0, fmt.Errorf("it uses %s: %w", key, ErrUnchecked)
				}
			case "uniqueItems":
				if inner == true {
					return 0, fmt.Errorf("it uses uniqueItems: %w", ErrUnchecked)
				}
			case "pattern":
				if text, ok := inner.(string); ok {
					n += len(text)
				}
			case "patternProperties":
				if all, ok := inner.(map[string]any); ok {
					for text := range all {
						n += len(text)
					}
				}
			}
			m, err := measure(inner)
			if err != nil {
				return 0, err
			}
			n += m
		}
	case []any:
		for _, inner := range v {
			m, err := measure(inner)
			if err != nil {
				return 0, err
			}
			n += m
		}
	}
	return n + 1, nil
}

// Check reports what is wrong with the parameters, a JSON object or nothing, in one
// sentence that names every bad one (up to five). It is nil for good ones, for those that
// it would take too long to check, and from a nil Schema.
func (s *Schema) Check(params []byte) (err error) {
	if s == nil || s.values*len(params) > maxCost {
		return nil
	}
	if len(bytes.TrimSpace(params)) == 0 {
		params = []byte("{}")
	}
	defer func() {
		if r := recover(); r != nil { // the plugin checks them too
			err = nil
		}
	}()
	if err := tooDeep(params); err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(params))
	if err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	if number := immense(v); number != "" {
		return fmt.Errorf("parameters: the number %s is out of range", shown(number, maxShown))
	}
	invalid := (*jsonschema.ValidationError)(nil)
	if err := s.compiled.Validate(v); !errors.As(err, &invalid) {
		return err
	}
	var all []string
	problems(invalid, v, func(text string) { all = append(all, text) })
	if more := len(all) - maxProblems; more > 0 {
		all = append(all[:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return errors.New(strings.Join(all, "; "))
}

// problems tells of each thing that is wrong, in the order of the parameters.
func problems(e *jsonschema.ValidationError, root any, tell func(string)) {
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			tell(fmt.Sprintf("parameter %q: not defined", path(append(e.InstanceLocation[:len(e.InstanceLocation):len(e.InstanceLocation)], name))))
		}
		return
	case *kind.Type:
		tell(naming(e) + notA(k.Want) + got(at(root, e.InstanceLocation)))
		return
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			tell(fmt.Sprintf("parameter %q: not known", path(append(e.InstanceLocation[:len(e.InstanceLocation):len(e.InstanceLocation)], name))))
		}
		return
	case *kind.Minimum:
		want, _ := k.Want.Float64()
		tell(naming(e) + "less than " + decimal(want) + got(at(root, e.InstanceLocation)))
		return
	case *kind.Maximum:
		want, _ := k.Want.Float64()
		tell(naming(e) + "more than " + decimal(want) + got(at(root, e.InstanceLocation)))
		return
	case *kind.Enum:
		tell(naming(e) + "not one of " + list(k.Want) + got(at(root, e.InstanceLocation)))
		return
	case *kind.AnyOf, *kind.OneOf, *kind.Not:
		// Which branch was meant nobody knows.
	default:
		if len(e.Causes) > 0 {
			for _, cause := range e.Causes {
				problems(cause, root, tell)
			}
			return
		}
	}
	tell(naming(e) + shown(e.ErrorKind.LocalizedString(message.NewPrinter(language.English)), 4*maxShown))
}

// naming returns the beginning of a sentence about the parameter.
func naming(e *jsonschema.ValidationError) string {
	if len(e.InstanceLocation) == 0 {
		return "parameters: "
	}
	return fmt.Sprintf("parameter %q: ", path(e.InstanceLocation))
}

// path writes where a value stands as "to.address[2]".
func path(location []string) string {
	var b strings.Builder
	for i, part := range location {
		if _, err := strconv.Atoi(part); err == nil && i > 0 {
			b.WriteString("[" + part + "]")
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(part)
	}
	return shown(b.String(), 2*maxShown)
}

// notA says in words that a value is of none of the wanted types.
func notA(want []string) string {
	var names []string
	for _, w := range want {
		switch w {
		case "null":
			continue // leaving it out is simpler
		case "integer", "array", "object":
			w = "an " + w
		default:
			w = "a " + w
		}
		names = append(names, w)
	}
	if len(names) == 0 {
		return "must be null or left out"
	}
	return "not " + strings.Join(names, " or ")
}

// got shows the value that was found.
func got(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return ": " + shown(string(b), maxShown)
}

// list shows some of the values that are allowed.
func list(all []any) string {
	const most = 10
	var texts []string
	for i, v := range all {
		if i == most {
			texts = append(texts, "…")
			break
		}
		if v == nil {
			continue
		}
		b, _ := json.Marshal(v)
		texts = append(texts, shown(string(b), maxShown))
	}
	return strings.Join(texts, ", ")
}

// at returns the value that stands at the location.
func at(v any, location []string) any {
	for _, part := range location {
		switch inner := v.(type) {
		case map[string]any:
			v = inner[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(inner) {
				return nil
			}
			v = inner[i]
		}
	}
	return v
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// shown cuts a text that came from outside to at most n bytes, on one line.
func shown(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

// tooDeep refuses a text whose values stand too deep within each other for code that
// follows them by recursion.
func tooDeep(text []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("values stand more than %d deep within each other", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// immense returns a number among the values that is too long or too large to be reckoned
// with exactly, as a check does; "" if there is none.
func immense(v any) string {
	const maxDigits, maxExponent = 400, 400
	switch v := v.(type) {
	case json.Number:
		digits, exponent, _ := strings.Cut(strings.ToLower(string(v)), "e")
		e := 0
		if exponent != "" {
			var err error
			if e, err = strconv.Atoi(exponent); err != nil {
				return string(v)
			}
		}
		if len(digits) > maxDigits || e > maxExponent || e < -maxExponent {
			return string(v)
		}
	case map[string]any:
		for _, inner := range v {
			if s := immense(inner); s != "" {
				return s
			}
		}
	case []any:
		for _, inner := range v {
			if s := immense(inner); s != "" {
				return s
			}
		}
	}
	return ""
}
