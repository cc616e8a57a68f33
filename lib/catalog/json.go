package catalog

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// Unknown holds the members of a JSON object that have no field here.
type Unknown map[string]json.RawMessage

// appendJSON appends v on one line, without HTML escapes.
func appendJSON(b []byte, v any) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	e := json.NewEncoder(buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return b, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// marshal writes known, then the unknown members in order of name.
func marshal(known any, unknown Unknown) ([]byte, error) {
	b, err := appendJSON(nil, known)
	if err != nil || len(unknown) == 0 {
		return b, err
	}
	mine := names(reflect.TypeOf(known))
	keys := make([]string, 0, len(unknown))
	for k := range unknown {
		if !slices.Contains(mine, k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	b = b[:len(b)-1]
	for _, k := range keys {
		if len(b) > 1 {
			b = append(b, ',')
		}
		if b, err = appendJSON(b, k); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if b, err = appendJSON(b, unknown[k]); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// unmarshal fills known, a pointer to a struct, and returns the members it has no field for.
func unmarshal(b []byte, known any) (Unknown, error) {
	if err := json.Unmarshal(b, known); err != nil {
		return nil, err
	}
	var all Unknown
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	mine := names(reflect.TypeOf(known).Elem())
	for k := range all {
		// As encoding/json does: names match without regard to case.
		if slices.ContainsFunc(mine, func(m string) bool { return strings.EqualFold(m, k) }) {
			delete(all, k)
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

func names(t reflect.Type) []string {
	var n []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "-" {
			n = append(n, name)
		}
	}
	return n
}

func (c Catalog) MarshalJSON() ([]byte, error) {
	type plain Catalog
	return marshal(plain(c), c.Unknown)
}

func (c *Catalog) UnmarshalJSON(b []byte) (err error) {
	type plain Catalog
	c.Unknown, err = unmarshal(b, (*plain)(c))
	return err
}

func (t Track) MarshalJSON() ([]byte, error) {
	type plain Track
	return marshal(plain(t), t.Unknown)
}

func (t *Track) UnmarshalJSON(b []byte) (err error) {
	type plain Track
	t.Unknown, err = unmarshal(b, (*plain)(t))
	return err
}

func (d InitData) MarshalJSON() ([]byte, error) {
	type plain InitData
	return marshal(plain(d), d.Unknown)
}

func (d *InitData) UnmarshalJSON(b []byte) (err error) {
	type plain InitData
	d.Unknown, err = unmarshal(b, (*plain)(d))
	return err
}

func (p Private) MarshalJSON() ([]byte, error) {
	type plain Private
	return marshal(plain(p), p.Unknown)
}

func (p *Private) UnmarshalJSON(b []byte) (err error) {
	type plain Private
	p.Unknown, err = unmarshal(b, (*plain)(p))
	return err
}

func (s Stream) MarshalJSON() ([]byte, error) {
	type plain Stream
	return marshal(plain(s), s.Unknown)
}

func (s *Stream) UnmarshalJSON(b []byte) (err error) {
	type plain Stream
	s.Unknown, err = unmarshal(b, (*plain)(s))
	return err
}

func (e ManifestEntry) MarshalJSON() ([]byte, error) {
	type plain ManifestEntry
	return marshal(plain(e), e.Unknown)
}

func (e *ManifestEntry) UnmarshalJSON(b []byte) (err error) {
	type plain ManifestEntry
	e.Unknown, err = unmarshal(b, (*plain)(e))
	return err
}

func (e TimelineEntry) MarshalJSON() ([]byte, error) {
	type plain TimelineEntry
	return marshal(plain(e), e.Unknown)
}

func (e *TimelineEntry) UnmarshalJSON(b []byte) (err error) {
	type plain TimelineEntry
	e.Unknown, err = unmarshal(b, (*plain)(e))
	return err
}
