package redis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/backplane/leptir/task"
)

// The beginnings of a record as task.Record writes it and as it stands in Redis, where the
// original called the id "id".
var (
	ourStart   = []byte(`{"_id":`)
	redisStart = []byte(`{"id":`)
)

// encode returns the record as JSON: the id first, leptir's own part last, which put.lua relies
// on.
func encode(r *task.Record) ([]byte, error) {
	plain := *r
	plain.Meta = nil
	b, err := plain.MarshalJSON()
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(b, ourStart) {
		return nil, fmt.Errorf("the record does not begin with its id: %.40s", b)
	}
	if len(r.Meta) == 0 {
		b = b[len(ourStart)-len(redisStart):]
		copy(b, redisStart)
		return b, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return nil, err
	}
	id, own := fields["_id"], fields["leptir"]
	for k, v := range r.Meta {
		if task.ReservedMeta(k) {
			continue
		}
		if fields[k], err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("meta info %q: %w", k, err)
		}
	}
	delete(fields, "_id")
	delete(fields, "leptir")
	out := append(slices.Clone(redisStart), id...)
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		name, err := json.Marshal(k)
		if err != nil {
			return nil, err
		}
		out = append(append(append(append(out, ','), name...), ':'), fields[k]...)
	}
	return append(append(append(out, `,"leptir":`...), own...), '}'), nil
}

// decode reads what encode wrote, or what the original leptir did.
func decode(b []byte) (task.Record, error) {
	var r task.Record
	if rest, ok := bytes.CutPrefix(b, redisStart); ok {
		b = append(slices.Clone(ourStart), rest...)
	} else {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(b, &fields); err != nil {
			return r, err
		}
		if id, ok := fields["id"]; ok {
			fields["_id"] = id
			delete(fields, "id")
		}
		var err error
		if b, err = json.Marshal(fields); err != nil {
			return r, err
		}
	}
	return r, r.UnmarshalJSON(b)
}
