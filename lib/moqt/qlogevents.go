package moqt

import (
	"context"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// Events come in pairs, for what was written and for what was read.
func createdOrParsed(created bool, name string) string {
	if created {
		return name + "_created"
	}
	return name + "_parsed"
}

// message logs a control message.
func (q *qlog) message(created bool, stream uint64, length int, m wire.Message) {
	d, ok := q.event(createdOrParsed(created, "moqt:control_message"))
	if !ok {
		return
	}
	d.uint("stream_id", stream)
	d.uint("length", uint64(length))
	d.text("message", qlogMessage(m))
	d.end(true)
}

// stream logs what a data stream or a request's stream turned out to be.
func (q *qlog) stream(own bool, stream uint64, typ string) {
	d, ok := q.event("moqt:stream_type_set")
	if !ok {
		return
	}
	owner := "remote"
	if own {
		owner = "local"
	}
	d.text("owner", owner)
	d.uint("stream_id", stream)
	d.text("stream_type", typ)
	d.end(false)
}

func (q *qlog) subgroupHeader(created bool, stream uint64, h wire.SubgroupHeader) {
	q.stream(created, stream, "subgroup_header")
	d, ok := q.event(createdOrParsed(created, "moqt:subgroup_header"))
	if !ok {
		return
	}
	d.uint("stream_id", stream)
	d.uint("track_alias", h.TrackAlias)
	d.uint("group_id", h.Group)
	switch {
	case h.FromFirst:
		d.uint("subgroup_id_mode", 1)
	case h.Subgroup == 0:
		d.uint("subgroup_id_mode", 0)
	default:
		d.uint("subgroup_id_mode", 2)
		d.uint("subgroup_id", h.Subgroup)
	}
	if h.Priority != nil {
		d.uint("publisher_priority", uint64(*h.Priority))
	}
	d.bool("contains_end_of_group", h.EndOfGroup)
	d.bool("properties_present", h.HasProperties)
	if h.FirstObject {
		d.bool("first_object", true)
	}
	d.end(false)
}

// subgroupObject logs an object's header. object_id is ours, beside the delta of the draft.
func (q *qlog) subgroupObject(created bool, stream uint64, prev *uint64, o wire.SubgroupObject) {
	d, ok := q.event(createdOrParsed(created, "moqt:subgroup_object"))
	if !ok {
		return
	}
	delta := o.ID
	if prev != nil {
		delta = o.ID - *prev - 1
	}
	d.uint("stream_id", stream)
	d.uint("object_id_delta", delta)
	d.uint("object_id", o.ID)
	if len(o.Properties) > 0 {
		d.uint("properties_length", uint64(len(o.Properties)))
	}
	d.uint("object_payload_length", o.Length)
	if o.Length == 0 {
		d.uint("object_status", uint64(o.Status))
	}
	d.end(false)
}

func (q *qlog) fetchHeader(created bool, stream, request uint64) {
	q.stream(created, stream, "fetch_header")
	d, ok := q.event(createdOrParsed(created, "moqt:fetch_header"))
	if !ok {
		return
	}
	d.uint("stream_id", stream)
	d.uint("request_id", request)
	d.end(false)
}

func (q *qlog) fetchObject(created bool, stream uint64, o FetchObject) {
	d, ok := q.event(createdOrParsed(created, "moqt:fetch_object"))
	if !ok {
		return
	}
	d.uint("stream_id", stream)
	d.bool("datagram", o.Datagram)
	d.bool("end_of_nonexistent_range", o.Kind == FetchedNonExistent)
	d.bool("end_of_unknown_range", o.Kind == FetchedUnknown)
	d.uint("group_id", o.Group)
	if !o.Datagram {
		d.uint("subgroup_id", o.Subgroup)
	}
	d.uint("object_id", o.ID)
	d.uint("publisher_priority", uint64(o.Priority))
	if len(o.Properties) > 0 {
		d.uint("properties_length", uint64(len(o.Properties)))
	}
	d.uint("object_payload_length", o.Size)
	d.end(false)
}

func (q *qlog) datagram(created bool, o wire.Datagram) {
	d, ok := q.event(createdOrParsed(created, "moqt:object_datagram"))
	if !ok {
		return
	}
	d.uint("track_alias", o.TrackAlias)
	d.uint("group_id", o.Group)
	d.uint("object_id", o.ID)
	if o.Priority != nil {
		d.uint("publisher_priority", uint64(*o.Priority))
	}
	if len(o.Properties) > 0 {
		d.uint("properties_length", uint64(len(o.Properties)))
	}
	if o.HasStatus {
		d.uint("object_status", uint64(o.Status))
	} else {
		d.text("object_payload", map[string]int{"length": len(o.Payload)})
	}
	d.bool("end_of_group", o.EndOfGroup)
	d.end(false)
}

// reset logs RESET_STREAM or, for the reading half, STOP_SENDING, which the draft leaves to the events of QUIC.
func (q *qlog) reset(name string, own bool, stream uint64, code ResetCode) {
	d, ok := q.event("ec:" + name)
	if !ok {
		return
	}
	owner := "remote"
	if own {
		owner = "local"
	}
	d.text("owner", owner)
	d.uint("stream_id", stream)
	d.text("code", code.String())
	d.end(false)
}

// close logs the end of the session and ends the file. When it returns the file is complete, whoever called it first.
func (q *qlog) close(ctx context.Context) {
	if q != nil {
		q.over.Do(func() { q.closed(ctx) })
	}
}

func (q *qlog) closed(ctx context.Context) {
	if d, ok := q.event("ec:session_closed"); ok {
		var se *SessionError
		if errors.As(context.Cause(ctx), &se) {
			owner := "local"
			if se.Remote {
				owner = "remote"
			}
			d.text("owner", owner)
			d.text("code", se.Code.String())
			d.text("reason", se.Reason)
		}
		d.end(true)
	}
	q.mu.Lock()
	q.finish("")
	q.mu.Unlock()
}

// qlogMessage makes the members of a message: its fields in the draft's spelling, parameters as a list of names and values.
// Authorization tokens and the query of a path, where they may stand as well, stay out.
func qlogMessage(m wire.Message) map[string]any {
	out := map[string]any{"type": snake(reflect.TypeOf(m).Elem().Name())}
	qlogFields(out, reflect.ValueOf(m).Elem())
	return out
}

func qlogFields(out map[string]any, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			qlogFields(out, v.Field(i))
			continue
		}
		name := snake(f.Name)
		switch x := v.Field(i).Interface().(type) {
		case object.TrackName:
			out["track_namespace"], out["track_name"] = qlogTuple(x.Namespace), qlogBytes(x.Name)
		case object.Namespace:
			if name != "namespace" {
				name = "namespace_" + name
			}
			out["track_"+name] = qlogTuple(x)
		case wire.Parameters:
			p := qlogParameters(reflect.ValueOf(x))
			out["number_of_parameters"], out["parameters"] = len(p), p
		case wire.SetupParameters:
			out["setup_options"] = qlogParameters(reflect.ValueOf(x))
		case []byte:
			out[name+"_length"] = len(x)
		case string:
			if strings.HasSuffix(name, "uri") {
				x, _, _ = strings.Cut(x, "?")
			}
			out[name] = x
		default:
			if val := qlogValue(v.Field(i)); val != nil {
				out[name] = val
			}
		}
	}
}

func qlogParameters(v reflect.Value) []map[string]any {
	out := []map[string]any{}
	for i := range v.NumField() {
		name := snake(v.Type().Field(i).Name)
		switch x := v.Field(i).Interface().(type) {
		case []Token:
			for _, t := range x {
				out = append(out, map[string]any{
					"name": "authorization_token", "alias_type": t.AliasType, "token_alias": t.Alias, "token_type": t.Type,
					"token_value": map[string]any{"length": len(t.Value)},
				})
			}
			continue
		case []wire.KeyValue:
			for _, kv := range x {
				out = append(out, map[string]any{"name": "unknown", "name_bytes": kv.Type, "length": len(kv.Bytes)})
			}
			continue
		case *string:
			if x != nil && name == "path" {
				path, _, _ := strings.Cut(*x, "?")
				out = append(out, map[string]any{"name": name, "value": path})
				continue
			}
		}
		if v.Field(i).IsZero() {
			continue
		}
		if val := qlogValue(v.Field(i)); val != nil {
			out = append(out, map[string]any{"name": name, "value": val})
		}
	}
	return out
}

func qlogValue(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if v.CanInterface() {
			if x, ok := v.Interface().(*object.Namespace); ok {
				return qlogTuple(*x)
			}
		}
		return qlogValue(v.Elem())
	case reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			if val := qlogValue(v.Field(i)); val != nil {
				out[snake(v.Type().Field(i).Name)] = val
			}
		}
		return out
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return v.Uint()
	case reflect.Int, reflect.Int64:
		return v.Int()
	}
	return nil
}

// qlogBytes is a MOQTByteString.
func qlogBytes(s string) map[string]string {
	if utf8.ValidString(s) {
		return map[string]string{"value": s}
	}
	return map[string]string{"value_bytes": hex.EncodeToString([]byte(s))}
}

func qlogTuple(ns object.Namespace) []map[string]string {
	out := []map[string]string{}
	for _, f := range ns {
		out = append(out, qlogBytes(f))
	}
	return out
}

// snake spells a Go name as the drafts do: RequestID is request_id, GoAway goaway.
func snake(name string) string {
	if name == "GoAway" {
		return "goaway"
	}
	var b strings.Builder
	rs := []rune(name)
	for i, r := range rs {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(rs[i-1]) || i+1 < len(rs) && unicode.IsLower(rs[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
