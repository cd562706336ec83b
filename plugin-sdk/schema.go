package sdk

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
)

// maxSchemaBytes is the longest schema that a host takes.
const maxSchemaBytes = 256 << 10

// schema is what is used of JSON Schema.
type schema struct {
	Schema      string             `json:"$schema,omitempty"`
	Type        any                `json:"type,omitempty"` // a string, or a []string
	Description string             `json:"description,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Minimum     json.RawMessage    `json:"minimum,omitempty"`
	Maximum     json.RawMessage    `json:"maximum,omitempty"`
	Enum        []json.RawMessage  `json:"enum,omitempty"`
	Default     json.RawMessage    `json:"default,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	// Additional is for the values of maps: Bind ignores what a struct does not have.
	Additional *schema `json:"additionalProperties,omitempty"`
}

// paramsSchema returns the JSON Schema (draft 2020-12) of the parameters that Bind takes
// into a value like v, whose fields other than zero are defaults; nil where it takes any.
func paramsSchema(v reflect.Value) (json.RawMessage, error) {
	s, err := shapeOf(v.Type())
	if err != nil {
		return nil, err
	}
	for s.kind == pointer {
		if s, v = s.elem, v.Elem(); !v.IsValid() {
			v = reflect.Zero(s.typ)
		}
	}
	switch {
	case s.kind == anything, s.kind == dictionary && s.elem.kind == anything:
		return nil, nil
	case s.kind != object && s.kind != dictionary:
		return nil, fmt.Errorf("parameters are a JSON object, which %v cannot hold", s.typ)
	}
	out := (&schemaMaker{map[*shape]bool{}}).schema(s, nil, v)
	out.Schema = "https://json-schema.org/draft/2020-12/schema"
	b, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	if len(b) > maxSchemaBytes {
		return nil, fmt.Errorf("the schema of %v is %d bytes, at most %d are allowed", s.typ, len(b), maxSchemaBytes)
	}
	return b, nil
}

// schemaMaker makes the schema of a shape and those in it.
type schemaMaker struct {
	open map[*shape]bool // those under way: what is within itself is described no further
}

// schema returns the schema of s; v holds the defaults of an object.
func (m *schemaMaker) schema(s *shape, r *rules, v reflect.Value) *schema {
	out := &schema{}
	if s.elem != nil || s.kind == object {
		if m.open[s] {
			if s.kind == object || s.kind == dictionary {
				out.Type = "object"
			}
			return out
		}
		m.open[s] = true
		defer delete(m.open, s)
	}
	switch s.kind {
	case pointer:
		return m.schema(s.elem, r, reflect.Zero(s.typ.Elem()))
	case textual:
		out.Type = "string"
	case boolean:
		out.Type = "boolean"
	case str:
		out.Type = "string"
		r.describe(out)
	case integer, number:
		out.Type = "number"
		if s.kind == integer {
			out.Type = "integer"
		}
		out.Minimum, out.Maximum = typeRange(s.typ)
		r.describe(out)
	case array:
		out.Type = "array"
		out.Items = m.element(s.elem, r)
	case dictionary:
		out.Type = "object"
		if s.elem.kind != anything {
			out.Additional = m.element(s.elem, nil)
		}
	case object:
		out.Type = "object"
		out.Properties = make(map[string]*schema, len(s.fields))
		for i := range s.fields {
			f := &s.fields[i]
			p, must := m.field(f, f.of(v, false))
			out.Properties[f.name] = p
			if must {
				out.Required = append(out.Required, f.name)
			}
		}
	}
	return out
}

// element returns the schema of the elements of an array or map.
func (m *schemaMaker) element(s *shape, r *rules) *schema {
	out := m.schema(s, r, reflect.Zero(s.typ))
	if s.kind == pointer {
		out.allowNull()
	}
	return out
}

// field returns the schema of a parameter and whether it must be given; v is what the
// field holds before, and may be invalid.
func (m *schemaMaker) field(f *field, v reflect.Value) (*schema, bool) {
	preset := v.IsValid() && !v.IsZero()
	if !v.IsValid() {
		v = reflect.Zero(f.shape.typ)
	}
	out := m.schema(f.shape, f.rules, v)
	out.Description = f.doc
	out.Default = f.def
	if preset && f.shape.kind != object {
		if b, err := json.Marshal(v.Interface()); err == nil {
			out.Default = b
		}
	}
	must := f.must && !preset
	switch {
	case !must:
		out.allowNull()
	case out.Type == nil:
		out.Type = []string{"boolean", "number", "string", "array", "object"} // all but null
	}
	return out, must
}

// allowNull makes null as good as any other value.
func (s *schema) allowNull() {
	if name, ok := s.Type.(string); ok {
		s.Type = []string{name, "null"}
		if s.Enum != nil {
			s.Enum = append(s.Enum, json.RawMessage("null"))
		}
	}
}

// describe adds what r says to the schema.
func (r *rules) describe(out *schema) {
	if r == nil {
		return
	}
	if r.min.IsValid() {
		out.Minimum = numberJSON(r.min)
	}
	if r.max.IsValid() {
		out.Maximum = numberJSON(r.max)
	}
	for _, b := range r.enumJSON {
		out.Enum = append(out.Enum, b)
	}
}

// typeRange returns the least and the most that a number type holds; nil where that does
// not matter.
func typeRange(typ reflect.Type) (least, most json.RawMessage) {
	zero := reflect.Zero(typ)
	bits := 0
	if zero.CanInt() || zero.CanUint() {
		bits = typ.Bits()
	}
	switch {
	case zero.CanInt():
		return numberJSON(reflect.ValueOf(int64(math.MinInt64) >> (64 - bits))),
			numberJSON(reflect.ValueOf(int64(math.MaxInt64) >> (64 - bits)))
	case zero.CanUint():
		return json.RawMessage("0"), numberJSON(reflect.ValueOf(uint64(math.MaxUint64) >> (64 - bits)))
	case typ.Kind() == reflect.Float32:
		return numberJSON(reflect.ValueOf(-math.MaxFloat32)), numberJSON(reflect.ValueOf(math.MaxFloat32))
	}
	return nil, nil
}

// numberJSON writes a number that parseNumber has returned.
func numberJSON(n reflect.Value) json.RawMessage {
	b, _ := json.Marshal(n.Interface()) // a finite number always can
	return b
}
