package sdk

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// shape is what the parameters look like that a Go type takes. Binding and the published
// schema both follow it, so that they agree.
type shape struct {
	kind   shapeKind
	typ    reflect.Type
	elem   *shape  // of a pointer, an array or a dictionary
	fields []field // of an object
}

type shapeKind int

const (
	anything   shapeKind = iota // whatever the type's own decoding takes
	textual                     // a string that the type decodes itself
	boolean                     // and so on: the kinds of JSON
	integer                     //
	number                      //
	str                         //
	array                       //
	object                      // a struct
	dictionary                  // a map
	pointer                     // to another shape
)

// field is a parameter: a field of a struct.
type field struct {
	name  string // in the parameters
	index []int  // in the struct, through those that are embedded
	shape *shape
	rules *rules // nil: none
	must  bool   // it must be given
	def   json.RawMessage
	doc   string
}

// rules say which strings or numbers are allowed.
type rules struct {
	min, max reflect.Value // int64, uint64 or float64; invalid: none
	enum     []reflect.Value
	enumJSON [][]byte
}

// of returns the field in the struct v. Where that is behind an embedded nil pointer it is
// invalid, or made.
func (f *field) of(v reflect.Value, create bool) reflect.Value {
	for i, x := range f.index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				if !create {
					return reflect.Value{}
				}
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	return v
}

// shapes are those that were asked for, by type.
var shapes sync.Map

type shapeResult struct {
	shape *shape
	err   error
}

// shapeOf returns the shape of typ, or what is wrong with typ or its tags.
func shapeOf(typ reflect.Type) (*shape, error) {
	if r, ok := shapes.Load(typ); ok {
		return r.(shapeResult).shape, r.(shapeResult).err
	}
	m := shapeMaker{made: map[reflect.Type]*shape{}}
	s, err := m.make(typ)
	if err == nil {
		err = m.checkDefaults()
	}
	shapes.Store(typ, shapeResult{s, err})
	return s, err
}

// shapeMaker makes the shape of a type and of those in it.
type shapeMaker struct {
	made map[reflect.Type]*shape // also those under way, of types that contain themselves
}

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	timeType        = reflect.TypeFor[time.Time]()
	durationType    = reflect.TypeFor[time.Duration]()
)

func (m *shapeMaker) make(typ reflect.Type) (*shape, error) {
	if s, ok := m.made[typ]; ok {
		return s, nil
	}
	s := &shape{typ: typ}
	m.made[typ] = s
	switch {
	case typ == timeType:
		s.kind = textual
		return s, nil
	case typ.Kind() == reflect.Pointer:
		// What it points to decodes itself, if at all.
	case typ == numberType, reflect.PointerTo(typ).Implements(unmarshaler):
		return s, nil
	case reflect.PointerTo(typ).Implements(textUnmarshaler):
		s.kind = textual
		return s, nil
	}
	var err error
	switch typ.Kind() {
	case reflect.Bool:
		s.kind = boolean
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		s.kind = integer
	case reflect.Float32, reflect.Float64:
		s.kind = number
	case reflect.String:
		s.kind = str
	case reflect.Interface:
		if typ.NumMethod() > 0 {
			return nil, fmt.Errorf("%v cannot be decoded: it is an interface with methods", typ)
		}
	case reflect.Slice, reflect.Array:
		if typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Uint8 {
			s.kind = textual // base64
			return s, nil
		}
		s.kind = array
		s.elem, err = m.make(typ.Elem())
	case reflect.Map:
		if typ.Key().Kind() != reflect.String || reflect.PointerTo(typ.Key()).Implements(textUnmarshaler) {
			return nil, fmt.Errorf("%v cannot be decoded: its keys are not strings", typ)
		}
		s.kind = dictionary
		s.elem, err = m.make(typ.Elem())
	case reflect.Pointer:
		s.kind = pointer
		if s.elem, err = m.make(typ.Elem()); err == nil && s.elem.kind == pointer && (s.elem.elem == nil || s.elem == s) {
			err = fmt.Errorf("%v points to itself", typ)
		}
	case reflect.Struct:
		s.kind = object
		err = m.addFields(s, typ, nil, false)
	default:
		return nil, fmt.Errorf("%v cannot be decoded from JSON", typ)
	}
	return s, err
}

// addFields adds the fields of typ, which is the type of s or of a struct embedded in it
// at index, to s. Outer fields hide inner ones of the same name.
func (m *shapeMaker) addFields(s *shape, typ reflect.Type, index []int, optional bool) error {
	var embedded []reflect.StructField
	for i := range typ.NumField() {
		f := typ.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" && options == "" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if f.Anonymous && tag == "" && structBehind(f.Type).Kind() == reflect.Struct {
			embedded = append(embedded, f)
			continue
		}
		if !f.IsExported() || s.field(f, tag) != nil {
			continue
		}
		if err := m.addField(s, f, tag, options, index, optional); err != nil {
			return err
		}
	}
	for _, f := range embedded {
		if f.Type.Kind() == reflect.Pointer && !f.IsExported() {
			return fmt.Errorf("field %s of %v is an embedded pointer that cannot be set: export its type", f.Name, typ)
		}
		inner := append(slices.Clip(index), f.Index...)
		if len(inner) > maxDepth {
			return fmt.Errorf("%v embeds itself", typ)
		}
		if err := m.addFields(s, structBehind(f.Type), inner, optional || f.Type.Kind() == reflect.Pointer); err != nil {
			return err
		}
	}
	return nil
}

func structBehind(typ reflect.Type) reflect.Type {
	if typ.Kind() == reflect.Pointer {
		return typ.Elem()
	}
	return typ
}

// field returns the field of s that has f's name already, if any.
func (s *shape) field(f reflect.StructField, tag string) *field {
	if tag == "" {
		tag = f.Name
	}
	for i := range s.fields {
		if s.fields[i].name == tag {
			return &s.fields[i]
		}
	}
	return nil
}

func (m *shapeMaker) addField(s *shape, f reflect.StructField, name, options string, index []int, optional bool) error {
	if name == "" {
		name = f.Name
	}
	wrong := func(err error) error { return fmt.Errorf("parameter %q: %w", name, err) }
	option := func(o string) bool { return slices.Contains(strings.Split(options, ","), o) }
	if option("string") {
		return wrong(errors.New("the option string of the json tag is not supported"))
	}
	inner, err := m.make(f.Type)
	if err != nil {
		return wrong(err)
	}
	p := field{name: name, index: append(slices.Clip(index), f.Index...), shape: inner, doc: f.Tag.Get("doc")}
	if p.rules, err = rulesOf(f.Tag, inner.scalar()); err != nil {
		return wrong(err)
	}
	if tag, ok := f.Tag.Lookup("default"); ok {
		if p.def, err = defaultOf(tag, inner); err != nil {
			return wrong(err)
		}
	}
	p.must = !optional && p.def == nil && f.Type.Kind() != reflect.Pointer && !option("omitempty") && !option("omitzero")
	s.fields = append(s.fields, p)
	return nil
}

// scalar returns what the rules on s are for: that behind its pointers, or its elements.
func (s *shape) scalar() *shape {
	for (s.kind == pointer || s.kind == array) && s.elem != nil && s.elem != s {
		s = s.elem
	}
	return s
}

// rulesOf reads the tags min, max and enum.
func rulesOf(tags reflect.StructTag, s *shape) (*rules, error) {
	r, some := &rules{}, false
	for _, bound := range []struct {
		name string
		dst  *reflect.Value
	}{{"min", &r.min}, {"max", &r.max}} {
		tag, ok := tags.Lookup(bound.name)
		if !ok {
			continue
		}
		if s.kind != integer && s.kind != number {
			return nil, fmt.Errorf("%s is for numbers, not for %v", bound.name, s.typ)
		}
		n, problem := s.parseTag(tag)
		if problem != "" {
			return nil, fmt.Errorf("%s:%q: %s", bound.name, tag, problem)
		}
		*bound.dst, some = n, true
	}
	if r.min.IsValid() && r.max.IsValid() && less(r.max, r.min) {
		return nil, fmt.Errorf("min is %v, which is more than max, %v", r.min, r.max)
	}
	if tag, ok := tags.Lookup("enum"); ok {
		some = true
		for word := range strings.SplitSeq(tag, ",") {
			word = strings.TrimSpace(word)
			switch s.kind {
			case str:
				r.enum = append(r.enum, reflect.ValueOf(word).Convert(s.typ))
				r.enumJSON = append(r.enumJSON, quote(word))
			case integer, number:
				n, problem := s.parseTag(word)
				if problem != "" {
					return nil, fmt.Errorf("enum %q: %s", word, problem)
				}
				r.enum = append(r.enum, n)
				r.enumJSON = append(r.enumJSON, numberJSON(n))
			default:
				return nil, fmt.Errorf("enum is for strings and numbers, not for %v", s.typ)
			}
		}
	}
	if !some {
		return nil, nil
	}
	return r, nil
}

// parseTag is parseNumber of a text that may be no JSON.
func (s *shape) parseTag(tag string) (reflect.Value, string) {
	if tag = numberTag(tag, s); !json.Valid([]byte(tag)) {
		tag = "null"
	}
	return s.parseNumber(strings.TrimSpace(tag))
}

// numberTag returns the text of a tag as a JSON number, of a duration too.
func numberTag(tag string, s *shape) string {
	if s.typ == durationType {
		if d, err := time.ParseDuration(tag); err == nil {
			return strconv.FormatInt(int64(d), 10)
		}
	}
	return tag
}

// defaultOf returns the default that a tag gives to a parameter of shape s, as JSON.
func defaultOf(tag string, s *shape) (json.RawMessage, error) {
	for s.kind == pointer {
		s = s.elem
	}
	switch s.kind {
	case str, textual:
		return quote(tag), nil
	case integer:
		tag = numberTag(tag, s)
	}
	if !json.Valid([]byte(tag)) || tag == "null" {
		return nil, fmt.Errorf("default:%q is not a JSON value", tag)
	}
	return json.RawMessage(strings.TrimSpace(tag)), nil
}

// checkDefaults tries the defaults, once all shapes are known.
func (m *shapeMaker) checkDefaults() error {
	for _, s := range m.made {
		for _, f := range s.fields {
			if f.def == nil {
				continue
			}
			v := reflect.New(f.shape.typ).Elem()
			if err := (&binding{path: []step{{name: f.name}}}).value(f.def, v, f.shape, f.rules); err != nil {
				return fmt.Errorf("default of %w", err)
			}
		}
	}
	return nil
}

func quote(s string) []byte {
	b, _ := json.Marshal(s) // a string always can
	return b
}

// parseNumber reads a JSON value as an int64, uint64 or float64 that fits s, or says why
// that cannot be.
func (s *shape) parseNumber(raw string) (reflect.Value, string) {
	none := reflect.Value{}
	isNumber := raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9'
	tooLarge := func() string {
		return fmt.Sprintf("%s is out of the range of %v", text(raw, maxShownBytes), s.typ)
	}
	if s.kind == number {
		if !isNumber {
			return none, "not a number"
		}
		f, err := strconv.ParseFloat(raw, 64)
		if err != nil || s.typ.Kind() == reflect.Float32 && math.Abs(f) > math.MaxFloat32 {
			return none, tooLarge()
		}
		return reflect.ValueOf(f), ""
	}
	if !isNumber {
		return none, "not an integer"
	}
	plain, ok := plainInteger(raw)
	if !ok {
		return none, "not an integer"
	}
	if reflect.Zero(s.typ).CanUint() {
		u, err := strconv.ParseUint(plain, 10, s.typ.Bits())
		if err != nil {
			return none, tooLarge()
		}
		return reflect.ValueOf(u), ""
	}
	i, err := strconv.ParseInt(plain, 10, s.typ.Bits())
	if err != nil {
		return none, tooLarge()
	}
	return reflect.ValueOf(i), ""
}

// plainInteger returns the JSON number raw without fraction and exponent; false if it is
// no integer.
func plainInteger(raw string) (string, bool) {
	digits, negative := strings.CutPrefix(raw, "-")
	exponent := 0
	if i := strings.IndexAny(digits, "eE"); i >= 0 {
		var err error
		if exponent, err = strconv.Atoi(digits[i+1:]); err != nil {
			exponent = math.MaxInt32
			if digits[i+1] == '-' {
				exponent = -exponent
			}
		}
		digits = digits[:i]
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0", true
	}
	// Zeros at the end only shift the point.
	zeros := exponent - len(fraction)
	short := strings.TrimRight(digits, "0")
	zeros += len(digits) - len(short)
	if zeros < 0 {
		return "", false
	}
	const beyondAll = 30 // zeros make a number that no integer type holds
	digits = short + strings.Repeat("0", min(zeros, beyondAll))
	if negative {
		digits = "-" + digits
	}
	return digits, true
}

// less reports whether a is less than b, both as parseNumber returns them.
func less(a, b reflect.Value) bool {
	switch {
	case a.CanInt():
		return a.Int() < b.Int()
	case a.CanUint():
		return a.Uint() < b.Uint()
	}
	return a.Float() < b.Float()
}
