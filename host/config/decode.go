package config

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// decoder puts blocks of the file into settings structs, by the structs' tags, and
// gathers what is wrong.
type decoder struct {
	dir   string // relative paths are taken from it
	eval  *hcl.EvalContext
	diags hcl.Diagnostics
	// masked are the places of the file whose text diagnostics must not show.
	masked []hcl.Range
}

// place is a block as messages name it.
type place struct {
	name string // `broker "sqlite" "default"`
	at   hcl.Range
	// elsewhere, if set, says where an attribute belongs that this block does not have,
	// "" if nowhere.
	elsewhere func(attribute string) string
}

// slot is where one attribute or nested block goes to.
type slot struct {
	field
	value reflect.Value
	set   bool
}

// errorf adds a diagnostic.
func (d *decoder) errorf(at hcl.Range, format string, args ...any) {
	d.diags = append(d.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  fmt.Sprintf(format, args...),
		Subject:  &at,
	})
}

// decode puts body into targets, pointers to settings structs that hold the defaults; an
// attribute goes to the first that has it. It reports whether all was well.
func (d *decoder) decode(body *hclsyntax.Body, where place, targets ...any) bool {
	values := make([]reflect.Value, 0, len(targets))
	for _, target := range targets {
		v := reflect.ValueOf(target)
		if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
			d.errorf(where.at, "%s: its settings are a %T, not a pointer to a struct; this is a mistake in the program", where.name, target)
			return false
		}
		values = append(values, v.Elem())
	}
	return d.decodeStructs(body, where, values...)
}

func (d *decoder) decodeStructs(body *hclsyntax.Body, where place, values ...reflect.Value) bool {
	before := len(d.diags)
	slots, names := map[string]*slot{}, []string(nil)
	private := false
	for _, v := range values {
		fields, err := fieldsOf(v.Type())
		if err != nil {
			d.errorf(where.at, "%s: %v; this is a mistake in the program", where.name, err)
			return false
		}
		for _, f := range fields {
			if _, taken := slots[f.name]; !taken {
				slots[f.name] = &slot{field: f, value: v.FieldByIndex(f.index)}
				names = append(names, f.name)
			}
		}
		private = private || hasSecret(v.Type())
	}
	for _, attr := range inOrder(body.Attributes) {
		s := slots[attr.Name]
		switch {
		case s == nil:
			if private {
				d.masked = append(d.masked, attr.Expr.Range())
			}
			hint := ""
			if where.elsewhere != nil {
				hint = where.elsewhere(attr.Name)
			}
			if hint == "" {
				hint = inBlock(attr.Name, slots, names)
			}
			if hint == "" {
				hint = didYouMean(attr.Name, names)
				if near := slots[suggest(attr.Name, names)]; near != nil {
					near.set = true // or it would be missed as well
				}
			}
			d.errorf(attr.NameRange, "%s has no attribute %q%s", where.name, short(attr.Name), hint)
		case s.form == formBlock:
			d.errorf(attr.NameRange, "%s: %s is a block; write %s { … }", where.name, attr.Name, attr.Name)
			if private {
				d.masked = append(d.masked, attr.Expr.Range())
			}
			s.set = true
		default:
			d.attribute(attr, where, s)
		}
	}
	for _, block := range body.Blocks {
		d.nested(block, where, slots, names, private)
	}
	for _, name := range names {
		s := slots[name]
		switch {
		case s.set:
		case s.form == formBlock && !(s.pointer && s.value.IsNil()):
			// An absent block still has defaults to complete, and may miss something.
			d.decodeStructs(&hclsyntax.Body{}, place{name: name + " of " + where.name, at: where.at}, reflect.Indirect(s.value))
		case s.required && s.value.IsZero():
			d.errorf(where.at, "%s needs the attribute %q%s", where.name, name, aside(s.doc))
		}
	}
	for _, s := range slots {
		if s.form == formPath && s.value.String() != "" {
			s.value.SetString(d.absolute(s.value.String()))
		}
	}
	return len(d.diags) == before
}

// inBlock says which of a block's own blocks has an attribute of that name; "" if none has.
func inBlock(attribute string, slots map[string]*slot, names []string) string {
	for _, name := range names {
		s := slots[name]
		if s.form != formBlock {
			continue
		}
		t := s.value.Type()
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		fields, err := fieldsOf(t)
		if err == nil && slices.ContainsFunc(fields, func(f field) bool { return f.name == attribute }) {
			return fmt.Sprintf("; it stands in %s { … }", name)
		}
	}
	return ""
}

// nested decodes one block inside another.
func (d *decoder) nested(block *hclsyntax.Block, where place, slots map[string]*slot, names []string, private bool) {
	s := slots[block.Type]
	switch {
	case s == nil:
		if private {
			d.maskBlock(block)
		}
		d.errorf(block.TypeRange, "%s has no block %q%s", where.name, short(block.Type), didYouMean(block.Type, names))
		return
	case s.form != formBlock:
		if private {
			d.maskBlock(block)
		}
		value := "…"
		if s.form == formMap {
			value = "{ … }"
		}
		d.errorf(block.TypeRange, "%s: %s is an attribute; write %s = %s", where.name, block.Type, block.Type, value)
		s.set = true
		return
	}
	inner := place{name: block.Type + " of " + where.name, at: block.DefRange()}
	if s.set {
		d.errorf(inner.at, "%s is there twice", inner.name)
	}
	s.set = true
	if len(block.Labels) > 0 {
		d.errorf(block.LabelRanges[0], "%s takes no label", inner.name)
	}
	if s.pointer && s.value.IsNil() {
		s.value.Set(reflect.New(s.value.Type().Elem()))
	}
	d.decodeStructs(block.Body, inner, reflect.Indirect(s.value))
}

// attribute decodes one attribute into its slot; null leaves the default.
func (d *decoder) attribute(attr *hclsyntax.Attribute, where place, s *slot) {
	if s.form == formList || s.form == formMap {
		d.collection(attr, where, s)
		return
	}
	if s.secret {
		d.masked = append(d.masked, attr.Expr.Range())
	}
	val, ok := d.value(attr.Expr, where.name+": "+attr.Name, s.secret)
	if !ok || !val.IsNull() {
		s.set = true
	}
	if !ok || val.IsNull() {
		return
	}
	if err := setScalar(s.value, val, s.field); err != nil {
		d.errorf(attr.Expr.Range(), "%s: %s %v", where.name, attr.Name, err)
	}
}

// collection decodes a list or map of texts. Where the file spells it out, element by
// element, everything wrong in it is found at its place.
func (d *decoder) collection(attr *hclsyntax.Attribute, where place, s *slot) {
	what := where.name + ": " + attr.Name
	if s.form == formMap {
		if object, ok := attr.Expr.(*hclsyntax.ObjectConsExpr); ok {
			s.set = true
			d.object(object, what, s)
			return
		}
	} else if tuple, ok := attr.Expr.(*hclsyntax.TupleConsExpr); ok {
		s.set = true
		d.tuple(tuple, what, s)
		return
	}
	if s.secret {
		d.masked = append(d.masked, attr.Expr.Range())
	}
	val, ok := d.value(attr.Expr, what, s.secret)
	if !ok {
		s.set = true
		return
	}
	if val.IsNull() {
		return
	}
	s.set = true
	// What else can give a collection (a conditional, parentheses) has no places to point
	// at inside.
	t := val.Type()
	at := attr.Expr.Range()
	isMap, isList := t.IsObjectType() || t.IsMapType(), t.IsTupleType() || t.IsListType()
	if s.form == formMap && !isMap || s.form == formList && !isList {
		d.errorf(at, "%s must be a %s, not %s", what, s.form, typeName(val))
		return
	}
	var texts []string
	byKey := map[string]string{}
	for key, v := range val.Elements() {
		text, err := element(v)
		if err != nil {
			d.errorf(at, "%s: an element %v", what, err)
			return
		}
		texts = append(texts, text)
		if isMap {
			byKey[key.AsString()] = text
		}
	}
	if isMap {
		setMap(s.value, byKey)
	} else {
		setList(s.value, texts)
	}
}

// object decodes a map that the file spells out.
func (d *decoder) object(object *hclsyntax.ObjectConsExpr, what string, s *slot) {
	m := make(map[string]string, len(object.Items))
	for _, item := range object.Items {
		if s.secret {
			d.masked = append(d.masked, item.ValueExpr.Range())
		}
		key, ok := d.value(item.KeyExpr, what, s.secret)
		if !ok {
			continue
		}
		if key.IsNull() || key.Type() != cty.String {
			d.errorf(item.KeyExpr.Range(), "%s: a key must be a text, not %s", what, typeName(key))
			continue
		}
		name := key.AsString()
		if _, twice := m[name]; twice {
			d.errorf(item.KeyExpr.Range(), "%s: the key %q is there twice", what, short(name))
			continue
		}
		m[name] = ""
		val, ok := d.value(item.ValueExpr, fmt.Sprintf("%s: %q", what, short(name)), s.secret)
		if !ok {
			continue
		}
		text, err := element(val)
		if err != nil {
			d.errorf(item.ValueExpr.Range(), "%s: %q %v", what, short(name), err)
			continue
		}
		m[name] = text
	}
	setMap(s.value, m)
}

// tuple decodes a list that the file spells out.
func (d *decoder) tuple(tuple *hclsyntax.TupleConsExpr, what string, s *slot) {
	list := make([]string, 0, len(tuple.Exprs))
	for i, expr := range tuple.Exprs {
		if s.secret {
			d.masked = append(d.masked, expr.Range())
		}
		val, ok := d.value(expr, what, s.secret)
		if !ok {
			continue
		}
		text, err := element(val)
		if err != nil {
			d.errorf(expr.Range(), "%s: element %d %v", what, i+1, err)
			continue
		}
		list = append(list, text)
	}
	setList(s.value, list)
}

// setMap and setList fill fields whose elements may be of any text type.
func setMap(dst reflect.Value, m map[string]string) {
	t := dst.Type()
	out := reflect.MakeMapWithSize(t, len(m))
	for k, v := range m {
		out.SetMapIndex(reflect.ValueOf(k).Convert(t.Key()), reflect.ValueOf(v).Convert(t.Elem()))
	}
	dst.Set(out)
}

func setList(dst reflect.Value, list []string) {
	out := reflect.MakeSlice(dst.Type(), len(list), len(list))
	for i, s := range list {
		out.Index(i).SetString(s)
	}
	dst.Set(out)
}

// absolute returns a path of the file, taken from the file's folder.
func (d *decoder) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.dir, path)
}

// maskBlock hides all values and labels of a block that nothing is known of.
func (d *decoder) maskBlock(block *hclsyntax.Block) {
	d.masked = append(d.masked, block.LabelRanges...)
	d.maskBody(block.Body)
}

func (d *decoder) maskBody(body *hclsyntax.Body) {
	for _, attr := range body.Attributes {
		d.masked = append(d.masked, attr.Expr.Range())
	}
	for _, block := range body.Blocks {
		d.maskBlock(block)
	}
}

// didYouMean returns the end of a message about an unknown name.
func didYouMean(typed string, names []string) string {
	if near := suggest(typed, names); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// aside returns the first sentence of a field's doc as the end of a message.
func aside(doc string) string {
	if doc == "" {
		return ""
	}
	first, _, _ := strings.Cut(doc, ". ")
	return ": " + strings.TrimSuffix(first, ".")
}

// inOrder returns attributes in the order of the file.
func inOrder(attrs hclsyntax.Attributes) []*hclsyntax.Attribute {
	return slices.SortedFunc(maps.Values(attrs), func(a, b *hclsyntax.Attribute) int {
		return cmp.Compare(a.NameRange.Start.Byte, b.NameRange.Start.Byte)
	})
}
