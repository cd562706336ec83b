package config

import (
	"fmt"
	"reflect"
	"strings"
)

// maxChanged is the most bytes of a value that a Change shows.
const maxChanged = 120

// Change is one difference between two configurations. Its texts are what would stand in a
// file; secrets are hidden.
type Change struct {
	// Type is the type of the block ("host", "broker", …), "" for what stands outside all
	// blocks; Block is its type with its labels.
	Type, Block string
	// Attribute is the attribute that differs, with the names of the blocks in between
	// ("connection.port"); "" where the whole block was added or removed.
	Attribute string
	// Old and New are its values, "" where a block was not there. They are the same where a
	// secret differs.
	Old, New string
	// Added and Removed are about the whole block.
	Added, Removed bool
}

// String says what has changed, in one line.
func (c Change) String() string {
	where := c.Attribute
	if c.Block != "" && c.Attribute != "" {
		where = c.Block + ": " + c.Attribute
	}
	switch {
	case c.Added:
		return c.Block + " added"
	case c.Removed:
		return c.Block + " removed"
	case c.Old == c.New:
		return where + " changed"
	}
	return fmt.Sprintf("%s: %s → %s", where, c.Old, c.New)
}

// Diff returns what differs between two configurations, defaults included, in the order in
// which Config.String writes it.
func Diff(before, after *Config) (changes []Change) {
	old := map[string]block{}
	for _, b := range before.blocks() {
		old[b.head()] = b
	}
	for _, b := range after.blocks() {
		was, ok := old[b.head()]
		delete(old, b.head())
		if !ok {
			changes = append(changes, Change{Type: b.typ, Block: b.head(), Added: true})
			continue
		}
		changes = append(changes, diffBlock(was, b)...)
	}
	for _, b := range before.blocks() {
		if _, gone := old[b.head()]; gone {
			changes = append(changes, Change{Type: b.typ, Block: b.head(), Removed: true})
		}
	}
	return changes
}

func diffBlock(before, after block) (changes []Change) {
	is := flatten("", after.values())
	was := map[string]slot{}
	for _, s := range flatten("", before.values()) {
		was[s.name] = s
	}
	for _, s := range is {
		old, ok := was[s.name]
		delete(was, s.name)
		if ok && sameValue(old.value, s.value) {
			continue
		}
		c := Change{Type: after.typ, Block: after.head(), Attribute: s.name, New: shown(s)}
		if ok {
			c.Old = shown(old)
		} else {
			c.Old = "none"
		}
		changes = append(changes, c)
	}
	for _, s := range flatten("", before.values()) {
		if _, gone := was[s.name]; gone {
			changes = append(changes, Change{Type: after.typ, Block: after.head(), Attribute: s.name, Old: shown(s), New: "none"})
		}
	}
	return changes
}

// flatten returns the attributes of the structs and of the blocks in them, with their whole
// names.
func flatten(prefix string, values []reflect.Value) (all []slot) {
	for _, v := range values {
		fields, err := fieldsOf(v.Type())
		if err != nil {
			continue // reported where the struct is decoded
		}
		for _, f := range fields {
			s := slot{field: f, value: v.FieldByIndex(f.index)}
			s.name = prefix + f.name
			switch {
			case f.form != formBlock:
				all = append(all, s)
			case !f.pointer || !s.value.IsNil():
				all = append(all, flatten(s.name+".", []reflect.Value{reflect.Indirect(s.value)})...)
			}
		}
	}
	return all
}

// sameValue reports whether two values of attributes are the same; no list is an empty one.
func sameValue(a, b reflect.Value) bool {
	if k := a.Kind(); (k == reflect.Slice || k == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// shown returns a value on one line.
func shown(s slot) string {
	text := strings.Join(strings.Fields(literal(s.field, s.value, "")), " ")
	if len(text) > maxChanged {
		text = strings.ToValidUTF8(text[:maxChanged], "") + "…"
	}
	return text
}
