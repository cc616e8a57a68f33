package wire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func TestFetchStream(t *testing.T) {
	props := []byte{0x3c, 2}
	objects := []FetchObject{
		{Group: 5, Subgroup: 3, ID: 2, Priority: 100, Length: 10},
		{Group: 5, Subgroup: 3, ID: 3, Priority: 100, Length: 10},                    // all from the one before
		{Group: 5, Subgroup: 4, ID: 4, Priority: 100, Length: 10, Properties: props}, // subgroup plus one
		{Group: 5, Subgroup: 0, ID: 9, Priority: 7, Length: 0},                       // subgroup zero
		{Flags: FetchEndOfUnknown, Group: 6, ID: 100},                                // what follows refers to 6/100 and subgroup 0
		{Group: 6, Subgroup: 1, ID: 101, Priority: 7, Length: 1},                     // plus one again
		{Group: 7, Datagram: true, ID: 0, Priority: 7, Length: 1},                    // no subgroup
		{Group: 7, Subgroup: 1, ID: 1, Priority: 8, Length: 1},                       // that of the last object that had one
		{Flags: FetchEndOfNonExistent, Group: 8, ID: 0},
	}
	var write, read FetchState
	for _, o := range objects {
		b, err := write.Append(nil, Draft16, o)
		if err != nil {
			t.Fatal(err)
		}
		for cut := range b {
			if _, n, err := ParseFetchObject(b[:cut], Draft16, 100); n != 0 || err != nil {
				t.Errorf("%+v cut to %d: %d, %v", o, cut, n, err)
			}
		}
		got, n, err := ParseFetchObject(b, Draft16, 100)
		if err != nil || n != len(b) {
			t.Fatalf("%+v: %d of %d, %v", o, n, len(b), err)
		}
		if err := read.Resolve(Draft16, &got); err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		if !o.EndOfRange() {
			got.Flags = 0
		}
		if !reflect.DeepEqual(got, o) {
			t.Errorf("%+v came back as %+v", o, got)
		}
	}
	var second FetchState
	second.Append(nil, Draft16, objects[0])
	if b, err := second.Append(nil, Draft16, objects[1]); err != nil || !bytes.Equal(b, []byte{0x01, 10}) {
		t.Errorf("a following object takes %x, want flags and length only", b)
	}
}

func TestFetchObjectsRefused(t *testing.T) {
	for _, b := range [][]byte{
		{0x40, 0x80},          // flags 0x80
		{0x41, 0x0d, 1, 1, 0}, // flags 0x10d
	} {
		if _, _, err := ParseFetchObject(b, Draft16, 100); Code(err) != ProtocolViolation || err == nil {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, _, err := ParseFetchObject(append([]byte{0x3c, 0, 0, 0}, AppendVarint(nil, Draft16, 1<<61)...), Draft16, 100); !errors.Is(err, ErrLimit) {
		t.Errorf("properties of 2^61 bytes: %v", err)
	}
	for name, o := range map[string]FetchObject{
		"group":    {Flags: 0x14},
		"object":   {Flags: 0x18},
		"priority": {Flags: 0x0c},
		"subgroup": {Flags: 0x1d},
		"plus one": {Flags: 0x1e},
	} {
		var s FetchState
		if err := s.Resolve(Draft16, &o); Code(err) != ProtocolViolation || err == nil {
			t.Errorf("first object without %s: %v", name, err)
		}
	}
	// After nothing but an end of range, group and object are known, priority and subgroup are not.
	var s FetchState
	if err := s.Resolve(Draft16, &FetchObject{Flags: FetchEndOfUnknown, Group: 1, ID: 1}); err != nil {
		t.Fatal(err)
	}
	if err := s.Resolve(Draft16, &FetchObject{Flags: 0}); Code(err) != ProtocolViolation || err == nil {
		t.Errorf("priority from an end of range: %v", err)
	}
}

// TestEndOfRange: a group, an object id and no payload length, in each draft; what follows is the next object. These are the bytes of
// moqtail 0.17.0 (22), 0.14.0 (18) and its branch for draft 16, of moq-transport 0.17.0 (18) and of aiomoqt 0.13.3 (all).
func TestEndOfRange(t *testing.T) {
	for _, v := range Versions() {
		for _, flags := range []uint64{FetchEndOfNonExistent, FetchEndOfUnknown} {
			b := append(AppendVarint(nil, v, flags), 5, 10)
			var write FetchState
			if got, err := write.Append(nil, v, FetchObject{Flags: flags, Group: 5, ID: 10}); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%v: %x, %v, want %x", v, got, err, b)
			}
			b = append(b, 0x10, 7, 2) // of group 5 object 11, with priority 7 and two bytes
			end, n, err := ParseFetchObject(b, v, 0)
			if err != nil || n != len(b)-3 {
				t.Fatalf("%v: %d of %x, %v", v, n, b, err)
			}
			next, _, err := ParseFetchObject(b[n:], v, 0)
			var read FetchState
			if err = errors.Join(err, read.Resolve(v, &end), read.Resolve(v, &next)); err != nil {
				t.Fatalf("%v: %v", v, err)
			}
			if want := (FetchObject{Flags: 0x10, Group: 5, ID: 11, Priority: 7, Length: 2}); !reflect.DeepEqual(next, want) {
				t.Errorf("%v: after it comes %+v, want %+v", v, next, want)
			}
		}
	}
}

func FuzzFetchStream(f *testing.F) {
	f.Add([]byte{0x1c, 0, 0, 0x80, 4, 0, 2})
	f.Add([]byte{0x40, 0x8c, 5, 10, 0x13, 1, 9, 2, 0x3c, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range Versions() {
			fuzzFetchStream(t, v, b)
		}
	})
}

func fuzzFetchStream(t *testing.T, v Version, b []byte) {
	var read, write, reread FetchState
	for range 100 {
		o, n, err := ParseFetchObject(b, v, 1<<16)
		if err != nil || n == 0 || read.Resolve(v, &o) != nil {
			return
		}
		b = b[n:]
		if max(o.Group, o.ID, o.Subgroup) > v.MaxInteger() {
			return
		}
		enc, err := write.Append(nil, v, o)
		if errors.Is(err, ErrValue) {
			return // properties without a form, or an order that only the other draft can write
		}
		if err != nil {
			t.Fatal(err)
		}
		o2, n2, err := ParseFetchObject(enc, v, 1<<16)
		if err != nil || n2 != len(enc) {
			t.Fatalf("%+v encoded to %x: %v", o, enc, err)
		}
		if err := reread.Resolve(v, &o2); err != nil {
			t.Fatal(err)
		}
		if o2.Group != o.Group || o2.ID != o.ID || o2.EndOfRange() != o.EndOfRange() ||
			!o.EndOfRange() && (o2.Priority != o.Priority || o2.Datagram != o.Datagram || !o.Datagram && o2.Subgroup != o.Subgroup || !bytes.Equal(o.Properties, o2.Properties)) {
			t.Fatalf("%+v became %+v", o, o2)
		}
	}
}
