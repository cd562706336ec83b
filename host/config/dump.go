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

// String returns the whole configuration, defaults included, in the form of a
// configuration file. Secrets are hidden; but for them, reading it gives the same again.
func (c *Config) String() string {
	var b strings.Builder
	dumpStruct(&b, "", reflect.ValueOf(topLevel{c.TaskAlias}))
	dumpBlock(&b, blockHost, nil, c.Host)
	for _, x := range c.Brokers {
		dumpBlock(&b, blockBroker, []string{x.Kind, x.Name}, brokerCommon{x.Priority, x.TaskCountCachingTime}, x.Settings)
	}
	for _, x := range c.MetaStorages {
		dumpBlock(&b, blockMetaStorage, []string{x.Kind, x.Name}, metaStorageCommon{x.OnFailure}, x.Settings)
	}
	for _, x := range c.Loggers {
		dumpBlock(&b, blockLogger, []string{x.Kind, x.Name}, x.Settings)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Plugins)) {
		dumpBlock(&b, blockPlugin, []string{name}, c.Plugins[name])
	}
	return b.String()
}

func dumpBlock(b *strings.Builder, typ string, labels []string, settings ...any) {
	b.WriteString(typ)
	for _, label := range labels {
		fmt.Fprintf(b, " %s", quoteHCL(label))
	}
	b.WriteString(" {\n")
	for _, s := range settings {
		dumpStruct(b, "  ", reflect.Indirect(reflect.ValueOf(s)))
	}
	b.WriteString("}\n")
}

func dumpStruct(b *strings.Builder, indent string, v reflect.Value) {
	fields, err := fieldsOf(v.Type())
	if err != nil {
		return // reported where the struct is decoded
	}
	width := 0
	for _, f := range fields {
		if f.form != formBlock {
			width = max(width, len(f.name))
		}
	}
	for _, f := range fields {
		value := v.FieldByIndex(f.index)
		switch {
		case f.form != formBlock:
			fmt.Fprintf(b, "%s%-*s = %s\n", indent, width, f.name, literal(f, value, indent))
		case f.pointer && value.IsNil():
		default:
			fmt.Fprintf(b, "%s%s {\n", indent, f.name)
			dumpStruct(b, indent+"  ", reflect.Indirect(value))
			fmt.Fprintf(b, "%s}\n", indent)
		}
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
