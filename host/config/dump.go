package config

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// block is one block of a configuration: its settings are structs, or pointers to them,
// whose fields carry config tags. What stands outside all blocks is one without a type.
type block struct {
	typ      string
	labels   []string
	settings []any
}

// blocks returns the whole configuration in the order of String.
func (c *Config) blocks() []block {
	all := []block{{settings: []any{topLevel{c.TaskAlias}}}, {typ: blockHost, settings: []any{c.Host}},
		{typ: blockAdmin, settings: []any{c.Admin}}}
	add := func(typ string, labels []string, settings ...any) { all = append(all, block{typ, labels, settings}) }
	for _, x := range c.Brokers {
		add(blockBroker, []string{x.Kind, x.Name}, brokerCommon{x.Priority, x.TaskCountCachingTime, x.DeadRetention, x.OnStartFailure}, x.Settings)
	}
	for _, x := range c.MetaStorages {
		add(blockMetaStorage, []string{x.Kind, x.Name}, metaStorageCommon{x.OnFailure, x.OnStartFailure}, x.Settings)
	}
	for _, x := range c.Loggers {
		add(blockLogger, []string{x.Kind, x.Name}, x.Settings)
	}
	for _, x := range c.ErrorReporting {
		add(blockErrorReporting, []string{x.Kind, x.Name}, errorReportingCommon{x.Queue, x.Timeout, x.Redact, x.Parameters}, x.Settings)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Plugins)) {
		add(blockPlugin, []string{name}, c.Plugins[name])
	}
	return all
}

// String returns the whole configuration, defaults included, in the form of a
// configuration file. Secrets are hidden; but for them, reading it gives the same again.
func (c *Config) String() string {
	var b strings.Builder
	for _, block := range c.blocks() {
		block.dump(&b)
	}
	return b.String()
}

// head returns how the block begins in a file: its type and its labels.
func (b block) head() string {
	head := b.typ
	for _, label := range b.labels {
		head += " " + quoteHCL(label)
	}
	return head
}

// values returns the structs of the block's settings.
func (b block) values() []reflect.Value {
	values := make([]reflect.Value, len(b.settings))
	for i, s := range b.settings {
		values[i] = reflect.Indirect(reflect.ValueOf(s))
	}
	return values
}

func (b block) dump(out *strings.Builder) {
	if b.typ == "" {
		dumpStructs(out, "", b.values()...)
		return
	}
	out.WriteString(b.head() + " {\n")
	dumpStructs(out, "  ", b.values()...)
	out.WriteString("}\n")
}

// dumpStructs writes the attributes of the structs, and after them their blocks.
func dumpStructs(b *strings.Builder, indent string, values ...reflect.Value) {
	width := 0
	var attributes, blocks []slot
	for _, v := range values {
		fields, err := fieldsOf(v.Type())
		if err != nil {
			continue // reported where the struct is decoded
		}
		for _, f := range fields {
			s := slot{field: f, value: v.FieldByIndex(f.index)}
			if f.form == formBlock {
				blocks = append(blocks, s)
				continue
			}
			width = max(width, len(f.name))
			attributes = append(attributes, s)
		}
	}
	for _, s := range attributes {
		fmt.Fprintf(b, "%s%-*s = %s\n", indent, width, s.name, literal(s.field, s.value, indent))
	}
	for _, s := range blocks {
		if s.pointer && s.value.IsNil() {
			continue
		}
		fmt.Fprintf(b, "%s%s {\n", indent, s.name)
		dumpStructs(b, indent+"  ", reflect.Indirect(s.value))
		fmt.Fprintf(b, "%s}\n", indent)
	}
}

// literal writes a field's value as it would stand in a file, a secret as asterisks.
func literal(f field, v reflect.Value, indent string) string {
	show := func(s string) string {
		if f.secret && s != "" {
			s = hidden
		}
		return quoteHCL(s)
	}
	switch f.form {
	case formText, formPath, formSecret:
		return show(v.String())
	case formBool:
		return strconv.FormatBool(v.Bool())
	case formInt:
		return formatInt(v.Int())
	case formFloat:
		return formatFloat(v.Float())
	case formDuration:
		return unlessNumber(formatDuration(v.Int()))
	case formBytes:
		return unlessNumber(formatBytes(v.Int()))
	case formList:
		elements := make([]string, v.Len())
		for i := range elements {
			elements[i] = show(v.Index(i).String())
		}
		return "[" + strings.Join(elements, ", ") + "]"
	case formMap:
		if v.Len() == 0 {
			return "{}"
		}
		var b strings.Builder
		b.WriteString("{\n")
		keys := make([]string, 0, v.Len())
		for _, key := range v.MapKeys() {
			keys = append(keys, key.String())
		}
		slices.Sort(keys)
		for _, key := range keys {
			value := v.MapIndex(reflect.ValueOf(key).Convert(v.Type().Key()))
			fmt.Fprintf(&b, "%s  %s = %s\n", indent, quoteKey(key), show(value.String()))
		}
		b.WriteString(indent + "}")
		return b.String()
	}
	return ""
}

// unlessNumber quotes what is not a plain number.
func unlessNumber(s string) string {
	if _, err := strconv.ParseInt(s, 10, 64); err == nil {
		return s
	}
	return strconv.Quote(s)
}

// quoteHCL writes a text as HCL reads it.
func quoteHCL(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case (r == '$' || r == '%') && strings.HasPrefix(s[i+1:], "{"):
			b.WriteRune(r) // "${" begins a template, "$${" is the text
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// quoteKey writes the key of a map, without quotes where it needs none.
func quoteKey(s string) string {
	if plainKey.MatchString(s) && s != "null" && s != "true" && s != "false" && s != "for" {
		return s
	}
	return quoteHCL(s)
}
