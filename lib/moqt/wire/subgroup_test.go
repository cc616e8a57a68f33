package wire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func TestSubgroupHeaderInEveryForm(t *testing.T) {
	types := map[byte]bool{}
	for _, h := range subgroupForms() {
		b := h.Append(nil, Draft16)
		types[b[0]] = true
		got, n, err := ParseSubgroupHeader(b, Draft16)
		if err != nil || n != len(b) || !reflect.DeepEqual(got, h) {
			t.Errorf("%+v came back as %+v (%d of %d, %v)", h, got, n, len(b), err)
		}
		for i := range b {
			if _, _, err := ParseSubgroupHeader(b[:i], Draft16); !errors.Is(err, ErrIncomplete) {
				t.Errorf("%x cut to %d: %v", b, i, err)
			}
		}
	}
	if len(types) != 24 {
		t.Errorf("%d types written, draft 16 has 24", len(types))
	}
	valid := 0
	for typ := range uint64(256) {
		if IsSubgroup(typ, Draft16) {
			valid++
			if !types[byte(typ)] {
				t.Errorf("type %#x is valid and never written", typ)
			}
		} else if _, _, err := ParseSubgroupHeader(append(AppendVarint(nil, Draft16, typ), make([]byte, 20)...), Draft16); Code(err) != ProtocolViolation {
			t.Errorf("type %#x: %v", typ, err)
		}
	}
	if valid != 24 {
		t.Errorf("%d valid types", valid)
	}
}

func subgroupForms() (hs []SubgroupHeader) {
	for _, eog := range []bool{false, true} {
		for _, props := range []bool{false, true} {
			for _, prio := range []*uint8{nil, ptr(uint8(200))} {
				for _, h := range []SubgroupHeader{{}, {FromFirst: true}, {Subgroup: 70}} {
					h.TrackAlias, h.Group = 5, 1<<40
					h.EndOfGroup, h.HasProperties, h.Priority = eog, props, prio
					hs = append(hs, h)
				}
			}
		}
	}
	return hs
}

func TestSubgroupObjects(t *testing.T) {
	props := []byte{0x3c, 2}
	objects := []SubgroupObject{
		{ID: 3, Length: 5},
		{ID: 4, Length: 0},
		{ID: 1000, Length: 1 << 40},
		{ID: 1001, Status: StatusEndOfGroup},
	}
	for _, with := range []bool{false, true} {
		var b []byte
		var prev *uint64
		for i := range objects {
			objects[i].Properties = nil
			if with {
				objects[i].Properties = props[:min(len(props), i%2*2)]
			}
			b = AppendSubgroupObject(b[:0], Draft16, prev, with, objects[i])
			got, n, err := ParseSubgroupObject(b, Draft16, prev, with, 100)
			if err != nil || n != len(b) || got.ID != objects[i].ID || got.Length != objects[i].Length || got.Status != objects[i].Status || !bytes.Equal(got.Properties, objects[i].Properties) {
				t.Errorf("%+v came back as %+v (%v)", objects[i], got, err)
			}
			for cut := range b {
				if _, n, err := ParseSubgroupObject(b[:cut], Draft16, prev, with, 100); n != 0 || err != nil {
					t.Errorf("cut to %d of %d: %d, %v", cut, len(b), n, err)
				}
			}
			prev = &objects[i].ID
		}
	}
}

func TestSubgroupObjectsRefused(t *testing.T) {
	if _, _, err := ParseSubgroupObject([]byte{0, 0, 1}, Draft16, nil, false, 0); Code(err) != ProtocolViolation {
		t.Errorf("status 1: %v", err)
	}
	prev := uint64(1<<64 - 2)
	if _, _, err := ParseSubgroupObject([]byte{1, 5}, Draft16, &prev, false, 0); Code(err) != ProtocolViolation {
		t.Errorf("object id over 2^64-1: %v", err)
	}
	long := AppendVarint([]byte{0}, Draft16, 1<<61)
	if _, _, err := ParseSubgroupObject(long, Draft16, nil, true, 1000); !errors.Is(err, ErrLimit) {
		t.Errorf("properties of 2^61 bytes: %v", err)
	}
}

func FuzzSubgroupStream(f *testing.F) {
	f.Add([]byte{0x11, 1, 0, 0x80, 0, 2, 0x3c, 1, 4, 1, 2, 3, 4}, uint64(0))
	f.Add([]byte{0x30, 1, 0, 0, 0, 3}, uint64(1<<63))
	f.Fuzz(func(t *testing.T, b []byte, prev uint64) {
		for _, v := range Versions() {
			fuzzSubgroupStream(t, v, b, prev)
		}
	})
}

func fuzzSubgroupStream(t *testing.T, v Version, b []byte, prev uint64) {
	h, n, err := ParseSubgroupHeader(b, v)
	if err == nil {
		h2, _, err := ParseSubgroupHeader(h.Append(nil, v), v)
		if err != nil || !reflect.DeepEqual(h, h2) {
			t.Fatalf("%+v became %+v (%v)", h, h2, err)
		}
	}
	o, n2, err := ParseSubgroupObject(b[n:], v, &prev, h.HasProperties, 1<<16)
	if err != nil || n2 == 0 {
		return
	}
	if o.ID <= prev {
		t.Fatalf("object %d after %d", o.ID, prev)
	}
	enc := AppendSubgroupObject(nil, v, &prev, h.HasProperties, o)
	o2, _, err := ParseSubgroupObject(enc, v, &prev, h.HasProperties, 1<<16)
	if err != nil || o2.ID != o.ID || o2.Length != o.Length || o2.Status != o.Status || !bytes.Equal(o.Properties, o2.Properties) {
		t.Fatalf("%+v became %+v (%v)", o, o2, err)
	}
}

// BenchmarkSubgroupObject reads and writes an object's header. Draft 18 allocates the properties in the form they are held in.
func BenchmarkSubgroupObject(b *testing.B) {
	properties := append(append([]byte{0x02, 0xc0, 0, 0, 0, 1, 2, 3, 4}, 0x01, 32), make([]byte, 32)...)
	for _, v := range Versions() {
		b.Run(v.String(), func(b *testing.B) {
			prev := uint64(9)
			buf := AppendSubgroupObject(nil, v, &prev, true, SubgroupObject{ID: 10, Properties: properties, Length: 65536})
			out := make([]byte, 0, 128)
			b.ReportAllocs()
			for b.Loop() {
				o, _, err := ParseSubgroupObject(buf, v, &prev, true, 1<<16)
				if err != nil {
					b.Fatal(err)
				}
				out = AppendSubgroupObject(out[:0], v, &prev, true, o)
			}
		})
	}
}
