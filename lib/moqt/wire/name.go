package wire

import (
	"fmt"

	"every.channel/ec/lib/object"
)

// namespace reads a Track Namespace of at least min fields (§2.4.1). room is what is left of the 4,096 bytes of a full
// track name and is reduced by what was read.
func (r *reader) namespace(min uint64, room *uint64) object.Namespace {
	n := r.varint("namespace field count")
	if r.err == nil && (n < min || n > MaxNamespaceFields) {
		r.fail(violation("namespace of %d fields", n))
	}
	if r.err != nil {
		return nil
	}
	ns := make(object.Namespace, 0, n)
	for range n {
		f := r.nameBytes(room, "namespace field")
		if r.err == nil && len(f) == 0 {
			r.fail(violation("empty namespace field"))
		}
		if r.err != nil {
			return nil
		}
		ns = append(ns, string(f))
	}
	return ns
}

// nameBytes reads one length-prefixed part of a full track name.
func (r *reader) nameBytes(room *uint64, what string) []byte {
	n := r.varint(what + " length")
	if r.err == nil && n > *room {
		r.fail(violation("%s of %d bytes: full track name over %d", what, n, MaxFullTrackName))
		return nil
	}
	*room -= n
	return r.take(n, what)
}

// trackNamespace reads a namespace on its own, with at least min fields.
func (r *reader) trackNamespace(min uint64) object.Namespace {
	room := uint64(MaxFullTrackName)
	return r.namespace(min, &room)
}

// trackName reads Track Namespace, Track Name Length and Track Name.
func (r *reader) trackName() (t object.TrackName) {
	room := uint64(MaxFullTrackName)
	t.Namespace = r.namespace(uint64(drafts[r.v].minFields), &room)
	t.Name = string(r.nameBytes(&room, "track name"))
	return t
}

func (w *writer) namespace(ns object.Namespace, min int) {
	if err := CheckNamespace(ns, min); err != nil {
		w.fail(err)
		return
	}
	w.varint(uint64(len(ns)))
	for _, f := range ns {
		w.lengthString(f)
	}
}

func (w *writer) trackName(t object.TrackName) {
	if err := checkTrackName(t, drafts[w.v].minFields); err != nil {
		w.fail(err)
		return
	}
	w.namespace(t.Namespace, drafts[w.v].minFields)
	w.lengthString(t.Name)
}

// CheckNamespace reports with ErrValue a namespace no peer may be sent.
func CheckNamespace(ns object.Namespace, min int) error {
	if len(ns) < min || len(ns) > MaxNamespaceFields {
		return fmt.Errorf("namespace of %d fields: %w", len(ns), ErrValue)
	}
	size := 0
	for _, f := range ns {
		if f == "" {
			return fmt.Errorf("empty namespace field: %w", ErrValue)
		}
		size += len(f)
	}
	if size > MaxFullTrackName {
		return fmt.Errorf("namespace of %d bytes: %w", size, ErrValue)
	}
	return nil
}

// CheckTrackName reports with ErrValue a full track name that may not be sent in every draft.
func CheckTrackName(t object.TrackName) error { return checkTrackName(t, 1) }

func checkTrackName(t object.TrackName, min int) error {
	if err := CheckNamespace(t.Namespace, min); err != nil {
		return err
	}
	size := len(t.Name)
	for _, f := range t.Namespace {
		size += len(f)
	}
	if size > MaxFullTrackName {
		return fmt.Errorf("full track name of %d bytes: %w", size, ErrValue)
	}
	return nil
}
