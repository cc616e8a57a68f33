package wire

import (
	"math"
	"testing"
)

// TestRangeFilters: sets of filters, with the ranges of draft-19 §5.1.3, and what refuses a request.
func TestRangeFilters(t *testing.T) {
	f, err := ParseRangeFilters([]KeyValue{
		{Type: 0x26, Bytes: []byte{0, 3, 2, 5, 5}}, // objects 3 to 5 and 10 to 15
		{Type: 0x27, Bytes: []byte{0, 7}},          // of priority 7 and lower
		{Type: 0x25, Bytes: []byte{1, 2, 0}},       // or subgroup 2
		{Type: 0x28, Bytes: []byte{9, 4, 100, 0}},  // or property 4 is 100
	}, Draft20, 5)
	if err != nil {
		t.Fatal(err)
	}
	hundred, err := AppendKeyValues(nil, PropertyForm, []KeyValue{{Type: 4, Value: 100}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		o    Ranged
		want bool
	}{
		{Ranged{ID: 3, Priority: 7}, true}, {Ranged{ID: 5, Priority: 255}, true}, {Ranged{ID: 10, Priority: 8}, true},
		{Ranged{ID: 2, Priority: 7}, false}, {Ranged{ID: 6, Priority: 7}, false}, {Ranged{ID: 16, Priority: 7}, false},
		{Ranged{ID: 3, Priority: 6}, false},
		{Ranged{ID: 0, Subgroup: ptr(uint64(2))}, true}, {Ranged{ID: 0, Subgroup: ptr(uint64(3))}, false},
		{Ranged{Properties: hundred}, true}, {Ranged{Properties: someKVs}, false},
	} {
		if got := f.PassesObject(tt.o); got != tt.want {
			t.Errorf("%+v: %v", tt.o, got)
		}
	}
	if !f.PassesTrack(nil) || f.None() {
		t.Error("filters of objects are none for tracks")
	}
	tracks, err := ParseRangeFilters([]KeyValue{{Type: 0x29, Bytes: []byte{0, 4, 100}}}, Draft20, 1)
	if err != nil || !tracks.PassesTrack(hundred) || tracks.PassesTrack(nil) || !tracks.None() {
		t.Errorf("filter of tracks: %v", err)
	}
	if none, err := ParseRangeFilters(nil, Draft20, 0); err != nil || !none.None() || !none.PassesObject(Ranged{}) || !none.PassesTrack(nil) {
		t.Errorf("no filter: %v", err)
	}
	for name, list := range map[string][]KeyValue{
		"no set":            {{Type: 0x25}},
		"cut":               {{Type: 0x25, Bytes: []byte{0, 0x80}}},
		"over 2^64":         {{Type: 0x26, Bytes: append([]byte{0, 5}, AppendVarint(nil, Draft20, math.MaxUint64)...)}},
		"twice":             {{Type: 0x25, Bytes: []byte{0, 1}}, {Type: 0x25, Bytes: []byte{0, 2}}},
		"property twice":    {{Type: 0x28, Bytes: []byte{0, 4, 1}}, {Type: 0x28, Bytes: []byte{0, 4, 2}}},
		"odd property":      {{Type: 0x28, Bytes: []byte{0, 5, 1}}},
		"priority 256":      {{Type: 0x27, Bytes: append([]byte{0}, AppendVarint(nil, Draft20, 256)...)}},
		"priority to 256":   {{Type: 0x27, Bytes: append([]byte{0, 1}, AppendVarint(nil, Draft20, 255)...)}},
		"too many":          {{Type: 0x25, Bytes: []byte{0, 1, 1, 1}}, {Type: 0x25, Bytes: []byte{1, 1}}},
		"property type cut": {{Type: 0x29, Bytes: []byte{0}}},
	} {
		if f, err := ParseRangeFilters(list, Draft20, 2); err == nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if _, err := ParseRangeFilters([]KeyValue{{Type: 0x28, Bytes: []byte{0, 4, 1}}, {Type: 0x28, Bytes: []byte{0, 6, 2}}}, Draft20, 2); err != nil {
		t.Errorf("two properties in one set: %v", err)
	}
}

// TestReplaceRangeFilters: an update replaces all filters of a type, and an empty one removes them.
func TestReplaceRangeFilters(t *testing.T) {
	now := []KeyValue{{Type: 0x25, Bytes: []byte{0, 1}}, {Type: 0x25, Bytes: []byte{1, 1}}, {Type: 0x26, Bytes: []byte{0, 1}}}
	got := ReplaceRangeFilters(now, []KeyValue{{Type: 0x25, Bytes: []byte{3, 1}}, {Type: 0x26, Bytes: []byte{}}, {Type: 0x27, Bytes: []byte{0, 0}}})
	if len(got) != 2 || got[0].Bytes[0] != 3 || got[1].Type != 0x27 || len(now) != 3 || now[0].Bytes[0] != 0 {
		t.Errorf("%v of %v", got, now)
	}
	if got := ReplaceRangeFilters(now, nil); len(got) != 3 {
		t.Errorf("without an update: %v", got)
	}
}

// FuzzRangeFilters: nothing in a filter makes its reader or what it looks at break.
func FuzzRangeFilters(f *testing.F) {
	f.Add(byte(0), []byte{0, 3, 2, 5, 5}, []byte{0x04, 0x67, 0x10})
	f.Add(byte(3), []byte{1, 4, 1}, []byte{})
	f.Fuzz(func(t *testing.T, typ byte, b, properties []byte) {
		filters, err := ParseRangeFilters([]KeyValue{{Type: paramSubgroupFilter + uint64(typ%5), Bytes: b}}, Draft20, 64)
		if err != nil {
			return
		}
		filters.PassesTrack(properties)
		filters.PassesObject(Ranged{ID: uint64(typ), Properties: properties})
	})
}
