package wire

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// KeyValue is a Key-Value-Pair (§1.4.2). Even types hold an integer, odd types bytes.
type KeyValue struct {
	Type  uint64
	Value uint64 // even types
	Bytes []byte // odd types
}

// AppendKeyValues writes pairs in ascending order of type, types as deltas.
func AppendKeyValues(b []byte, v Version, kvs []KeyValue) ([]byte, error) {
	w := newWriter(b, v)
	w.keyValues(kvs)
	return w.b, w.err
}

// ParseKeyValues reads pairs until the end of b. Bytes alias b.
func ParseKeyValues(b []byte, v Version) ([]KeyValue, error) {
	r := newReader(b, v)
	var kvs []KeyValue
	var prev uint64
	for r.err == nil && len(r.b) > 0 {
		kv := r.keyValue(prev)
		prev = kv.Type
		kvs = append(kvs, kv)
	}
	if r.err != nil {
		return nil, r.err
	}
	return kvs, nil
}

// CheckKeyValues reports whether b is a well-formed sequence of pairs, without allocating.
func CheckKeyValues(b []byte, v Version) error {
	r := reader{b: b, v: v, vi: drafts[v].varint}
	var prev uint64
	for r.err == nil && len(r.b) > 0 {
		prev = r.keyValue(prev).Type
	}
	return r.err
}

func (r *reader) keyValue(prev uint64) (kv KeyValue) {
	kv.Type = r.delta(prev, "key-value type")
	if r.err != nil {
		return kv
	}
	if kv.Type&1 == 0 {
		kv.Value = r.varint("key-value value")
		return kv
	}
	kv.Bytes = r.lengthBytes(MaxValueLength, "key-value value")
	return kv
}

// delta reads a type as the difference to the one before.
func (r *reader) delta(prev uint64, what string) uint64 {
	delta := r.varint(what)
	if delta > math.MaxUint64-prev {
		r.fail(violation("%s %d + %d overflows", what, prev, delta))
		return 0
	}
	return prev + delta
}

func (w *writer) keyValues(kvs []KeyValue) {
	if !slices.IsSortedFunc(kvs, byType) {
		kvs = slices.Clone(kvs)
		slices.SortStableFunc(kvs, byType)
	}
	var prev uint64
	for _, kv := range kvs {
		w.varint(kv.Type - prev)
		prev = kv.Type
		if kv.Type&1 == 0 {
			w.varint(kv.Value)
			continue
		}
		if len(kv.Bytes) > MaxValueLength {
			w.fail(fmt.Errorf("key-value %#x of %d bytes: %w", kv.Type, len(kv.Bytes), ErrValue))
		}
		w.lengthBytes(kv.Bytes)
	}
}

func byType(a, b KeyValue) int { return cmp.Compare(a.Type, b.Type) }
