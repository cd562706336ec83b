package mongodb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/backplane/leptir/task"
)

// Fields of a document that this package deals with by name. All others are as the record's
// JSON has them.
const (
	fID       = "_id"
	fStart    = "exStart"
	fTime     = "exTime"
	fLeptir   = "leptir"
	fDelivery = "leptir.delivery"
	fExpires  = "leptir.expires" // when the server may delete the record
)

// maxDepth is how deep documents and lists may stand within each other. MongoDB takes a
// hundred; what is deeper is written as JSON text.
const maxDepth = 64

// newDocument returns the document of a record. It is made of the record's JSON, so that what
// is written, and what overrides what, is settled in one place (task.Record.MarshalJSON);
// dates become dates, and names that MongoDB does not take are escaped.
func newDocument(r *task.Record, expires time.Time) (bson.D, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	v, err := value(dec, 0)
	if err != nil {
		return nil, err
	}
	d, _ := v.(bson.D) // a record is an object
	dates := map[string]time.Time{fStart: r.ExStart}
	for i := range d {
		_, overridden := r.Meta[d[i].Key]
		switch {
		case d[i].Key == fLeptir:
			d[i].Value = leptirPart(d[i].Value, r, expires)
		case overridden:
		case d[i].Key == fTime:
			d[i].Value = r.ExTime // also where it is a whole number
		case !dates[d[i].Key].IsZero():
			d[i].Value = bson.NewDateTimeFromTime(dates[d[i].Key])
		}
	}
	return d, nil
}

// leptirPart returns leptir's own part of a document with its dates as dates.
func leptirPart(v any, r *task.Record, expires time.Time) bson.D {
	d, _ := v.(bson.D)
	dates := map[string]time.Time{"ended": r.Run.Ended, "retry": r.Run.Retry}
	out := bson.D{{Key: "delivery", Value: r.Run.Delivery}} // also 0: later records are compared with it
	for _, e := range d {
		if t := dates[e.Key]; !t.IsZero() {
			e.Value = bson.NewDateTimeFromTime(t)
		}
		if e.Key != "delivery" {
			out = append(out, e)
		}
	}
	if !expires.IsZero() {
		out = append(out, bson.E{Key: "expires", Value: bson.NewDateTimeFromTime(expires)})
	}
	return out
}

// value reads the next JSON value as BSON.
func value(dec *json.Decoder, depth int) (any, error) {
	if depth >= maxDepth {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, err
		}
		if raw[0] == '{' || raw[0] == '[' {
			return string(raw), nil
		}
		dec = json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Number:
		return number(t), nil
	case json.Delim:
		if t == '[' {
			list := bson.A{}
			for dec.More() {
				v, err := value(dec, depth+1)
				if err != nil {
					return nil, err
				}
				list = append(list, v)
			}
			_, err = dec.Token()
			return list, err
		}
		d := bson.D{}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return nil, err
			}
			v, err := value(dec, depth+1)
			if err != nil {
				return nil, err
			}
			d = append(d, bson.E{Key: escape(fmt.Sprint(name)), Value: v})
		}
		_, err = dec.Token()
		return d, err
	}
	return token, nil // text, true, false, null
}

// number returns a JSON number as the BSON type that people expect in the shell.
func number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		if i >= math.MinInt32 && i <= math.MaxInt32 {
			return int32(i)
		}
		return i
	}
	if f, err := n.Float64(); err == nil {
		return f
	}
	return n.String() // beyond what a double can hold
}

// escapeMark stands before a character that is meant as it is where escaping would read it
// as another's substitute.
const escapeMark = '％'

// escaper puts characters that look alike in the place of those that MongoDB does not take in
// names; '$' only matters at the beginning.
var escaper = strings.NewReplacer(".", "．", "．", "％．", "\x00", "␀", "␀", "％␀", "％", "％％")

// escape returns a name as MongoDB takes it.
func escape(name string) string {
	name = escaper.Replace(name)
	switch {
	case strings.HasPrefix(name, "$"):
		return "＄" + name[len("$"):]
	case strings.HasPrefix(name, "＄"):
		return string(escapeMark) + name
	}
	return name
}

// unescape returns what escape was given.
func unescape(name string) string {
	var b strings.Builder
	if rest, ok := strings.CutPrefix(name, "＄"); ok {
		b.WriteByte('$')
		name = rest
	}
	marked := false
	for _, r := range name {
		switch {
		case marked:
			marked = false
			b.WriteRune(r)
		case r == escapeMark:
			marked = true
		case r == '．':
			b.WriteByte('.')
		case r == '␀':
			b.WriteByte(0)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// readDocument returns the record of a document, ours or the original leptir's.
func readDocument(raw bson.Raw) (r task.Record, err error) {
	var d bson.D
	if err := bson.Unmarshal(raw, &d); err != nil {
		return r, err
	}
	text, err := json.Marshal(plain(d))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}

// plain returns a BSON value as one that has a JSON form.
func plain(v any) any {
	switch v := v.(type) {
	case bson.D:
		m := make(map[string]any, len(v))
		for _, e := range v {
			m[unescape(e.Key)] = plain(e.Value)
		}
		return m
	case bson.A:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	case bson.DateTime:
		return v.Time().UTC()
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return strconv.FormatFloat(v, 'g', -1, 64)
		}
		return v
	case nil, bool, string, int32, int64:
		return v
	}
	return fmt.Sprint(v) // types that JSON does not know, which somebody else has written
}
