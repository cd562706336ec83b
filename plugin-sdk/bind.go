package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Bind decodes the parameters into the struct (or map) that dst points to, by the field
// tags of encoding/json. Names match exactly, and null is like not given. Every exported
// field of the struct, and of structs in it, must be given, unless
//
//   - its tag says omitempty or omitzero,
//   - it is a pointer,
//   - it has a default, or
//   - it holds a value other than zero already: that is its default.
//
// More tags say what a parameter may be:
//
//	default:"5"     its value where it is not given; of arrays and objects as JSON
//	min:"0"         the least a number may be
//	max:"10"        the most a number may be
//	enum:"a,b"      what a string or number may be, without the spaces around the commas
//	doc:"How many"  what it is, for people
//
// On an array min, max and enum are for each of its elements. On a time.Duration, which is
// a number of nanoseconds in the parameters, they and the default may be written as "5s".
// Integers may be written with a fraction of zero (3.0), as for GetInt.
//
// Parameters that the struct does not have are ignored. A *struct with a method
// Validate() error is asked at the end; what it returns becomes the error. The error is an
// *InputError that names the parameter, unless the struct or its tags are at fault. Types
// that decode themselves (json.Unmarshaler) are left to do so.
func (t *BaseTask) Bind(dst any) error {
	raw, err := t.rawParams()
	if err != nil {
		return err
	}
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("bind: %T is not a pointer to a struct or map", dst)
	}
	s, err := shapeOf(v.Type().Elem())
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if raw = bytes.TrimSpace(raw); string(raw) == "null" {
		raw = []byte("{}")
	}
	if len(raw) == 0 || raw[0] != '{' || !json.Valid(raw) {
		return &InputError{Problem: "not a JSON object"}
	}
	if err := (&binding{}).value(raw, v.Elem(), s, nil); err != nil {
		return err
	}
	if d, ok := dst.(interface{ Validate() error }); ok {
		if err := d.Validate(); err != nil {
			var input *InputError
			if errors.As(err, &input) {
				return err
			}
			return &InputError{Problem: err.Error()}
		}
	}
	return nil
}

// rawParams returns the parameters as JSON, with the changes of SetData.
func (t *BaseTask) rawParams() ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.params.changed {
		raw, err := json.Marshal(t.params.values)
		if err != nil {
			return nil, fmt.Errorf("bind: a value of SetData: %w", err)
		}
		return raw, nil
	}
	if raw := t.msg.GetParams(); len(raw) > 0 {
		return raw, nil
	}
	return []byte("{}"), nil
}

// maxDepth is how deep parameters may be nested in a type that contains itself.
const maxDepth = 100

// binding decodes parameters into values of known shapes.
type binding struct {
	path []step // to the value at hand
}

// step leads to a part of a value: to the field or entry of that name or, where that is
// empty, to the element of an array.
type step struct {
	name  string
	index int
}

// problem returns the error of the value at hand.
func (b *binding) problem(format string, args ...any) error {
	var name []byte
	for i, s := range b.path {
		switch {
		case s.name == "":
			name = fmt.Appendf(name, "[%d]", s.index)
		case i == 0:
			name = append(name, s.name...)
		default:
			name = append(append(name, '.'), s.name...)
		}
	}
	return &InputError{Param: text(string(name), maxNameBytes), Problem: text(fmt.Sprintf(format, args...), MaxLogBytes)}
}

// below decodes a part of the value at hand: a field, an element.
func (b *binding) below(at step, raw []byte, v reflect.Value, s *shape, r *rules) error {
	if len(b.path) == maxDepth {
		return b.problem("nested more than %d deep", maxDepth)
	}
	b.path = append(b.path, at)
	defer func() { b.path = b.path[:len(b.path)-1] }()
	return b.value(raw, v, s, r)
}

// value decodes raw, one JSON value without spaces around it, into v, which is of the
// shape s and may be what r allows; a nil r allows all.
func (b *binding) value(raw []byte, v reflect.Value, s *shape, r *rules) error {
	switch s.kind {
	case pointer:
		if v.IsNil() {
			v.Set(reflect.New(s.typ.Elem()))
		}
		return b.value(raw, v.Elem(), s.elem, r)
	case object:
		return b.object(raw, v, s)
	case dictionary:
		return b.dictionary(raw, v, s)
	case array:
		return b.array(raw, v, s, r)
	case boolean:
		if raw[0] != 't' && raw[0] != 'f' {
			return b.problem("not a boolean")
		}
		v.SetBool(raw[0] == 't')
		return nil
	case str:
		if raw[0] != '"' {
			return b.problem("not a string")
		}
		v.SetString(unquote(raw))
		return b.allowed(raw, v, r)
	case integer, number:
		n, problem := s.parseNumber(string(raw))
		if problem != "" {
			return b.problem("%s", problem)
		}
		v.Set(n.Convert(s.typ))
		return b.allowed(raw, n, r)
	case textual:
		if raw[0] != '"' {
			return b.problem("not a string")
		}
	}
	if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil {
		// An error of the type's own, or a number that no float64 can hold.
		return b.problem("%v", err)
	}
	return nil
}

// allowed checks a string or number, which raw is the text of.
func (b *binding) allowed(raw []byte, v reflect.Value, r *rules) error {
	switch {
	case r == nil:
		return nil
	case r.min.IsValid() && less(v, r.min):
		return b.problem("%s is less than %v", text(string(raw), maxShownBytes), r.min)
	case r.max.IsValid() && less(r.max, v):
		return b.problem("%s is more than %v", text(string(raw), maxShownBytes), r.max)
	case len(r.enum) > 0 && !slices.ContainsFunc(r.enum, v.Equal):
		return b.problem("%s is none of %s", text(string(raw), maxShownBytes), bytes.Join(r.enumJSON, []byte(", ")))
	}
	return nil
}

// maxShownBytes is how much of a wrong value an error shows.
const maxShownBytes = 100

// object decodes the fields of a struct.
func (b *binding) object(raw []byte, v reflect.Value, s *shape) error {
	if raw[0] != '{' {
		return b.problem("not an object")
	}
	var few [16][]byte
	given := few[:]
	if len(s.fields) > len(few) {
		given = make([][]byte, len(s.fields))
	}
	for name, value := range members(raw) {
		for i := range s.fields {
			if spells(name, s.fields[i].name) {
				given[i] = value // of a name that is there twice the last value counts
				break
			}
		}
	}
	var missing error // comes last: a wrong type says more
	for i := range s.fields {
		f := &s.fields[i]
		raw := given[i]
		if raw == nil || string(raw) == "null" {
			now := f.of(v, false)
			switch {
			case now.IsValid() && !now.IsZero():
				continue
			case f.def != nil:
				raw = f.def
			default:
				if f.must && missing == nil {
					missing = b.missing(f.name)
				}
				continue
			}
		}
		if err := b.below(step{name: f.name}, raw, f.of(v, true), f.shape, f.rules); err != nil {
			return err
		}
	}
	return missing
}

func (b *binding) missing(name string) error {
	return (&binding{append(slices.Clip(b.path), step{name: name})}).problem("not defined")
}

// dictionary decodes the entries of a map, which are added to those that it has.
func (b *binding) dictionary(raw []byte, v reflect.Value, s *shape) error {
	if raw[0] != '{' {
		return b.problem("not an object")
	}
	given := map[string][]byte{}
	for name, value := range members(raw) {
		given[unquote(name)] = value
	}
	if v.IsNil() {
		v.Set(reflect.MakeMapWithSize(s.typ, len(given)))
	}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		e := reflect.New(s.typ.Elem()).Elem()
		if err := b.element(step{name: key}, given[key], e, s.elem, nil); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(key).Convert(s.typ.Key()), e)
	}
	return nil
}

// array decodes the elements of a slice, or as many as an array has.
func (b *binding) array(raw []byte, v reflect.Value, s *shape, r *rules) error {
	if raw[0] != '[' {
		return b.problem("not an array")
	}
	given := slices.Collect(elements(raw))
	if s.typ.Kind() == reflect.Slice {
		v.Set(reflect.MakeSlice(s.typ, len(given), len(given)))
	} else {
		v.SetZero()
		given = given[:min(len(given), v.Len())]
	}
	for i, raw := range given {
		if err := b.element(step{index: i}, raw, v.Index(i), s.elem, r); err != nil {
			return err
		}
	}
	return nil
}

// element decodes an element of an array or map. That is null only where its type has a
// place for it.
func (b *binding) element(at step, raw []byte, v reflect.Value, s *shape, r *rules) error {
	if string(raw) == "null" && s.kind == pointer {
		return nil
	}
	return b.below(at, raw, v, s, r)
}
