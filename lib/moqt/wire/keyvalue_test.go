package wire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func TestKeyValues(t *testing.T) {
	// The example of §10.5: type 4 with 2186796243, type 77 with "traceID:123456".
	kvs := []KeyValue{{Type: 4, Value: 2186796243}, {Type: 77, Bytes: []byte("traceID:123456")}}
	b, err := AppendKeyValues(nil, Draft16, kvs)
	want := append([]byte{4, 0xc0, 0, 0, 0, 0x82, 0x57, 0xdc, 0xd3, 0x40, 73, 14}, "traceID:123456"...)
	if err != nil || !bytes.Equal(b, want) {
		t.Fatalf("%x, %v; want %x", b, err, want)
	}
	got, err := ParseKeyValues(b, Draft16)
	if err != nil || !reflect.DeepEqual(got, kvs) {
		t.Fatalf("%v, %v", got, err)
	}
	unsorted, err := AppendKeyValues(nil, Draft16, []KeyValue{kvs[1], kvs[0]})
	if err != nil || !bytes.Equal(unsorted, want) {
		t.Fatalf("unsorted pairs: %x, %v", unsorted, err)
	}
}

func TestKeyValuesRefused(t *testing.T) {
	huge := bytes.Repeat([]byte{0xff}, 8) // 2^62-1
	for _, tt := range []struct {
		name string
		b    []byte
		code SessionCode
	}{
		{"length over 65535", append([]byte{1}, AppendVarint(nil, Draft16, 65536)...), ProtocolViolation},
		{"length 2^61", append([]byte{1}, AppendVarint(nil, Draft16, 1<<61)...), ProtocolViolation},
		{"value cut", []byte{1, 4, 'a'}, ProtocolViolation},
		{"no value", []byte{2}, ProtocolViolation},
		// Five times 2^62-2, each with value 0, passes 2^64.
		{"type overflow", bytes.Repeat(append(append(append([]byte{}, huge[:7]...), 0xfe), 0), 5), ProtocolViolation},
	} {
		_, err := ParseKeyValues(tt.b, Draft16)
		if err == nil || Code(err) != tt.code {
			t.Errorf("%s: %v", tt.name, err)
		}
		if (CheckKeyValues(tt.b, Draft16) == nil) != (err == nil) {
			t.Errorf("%s: CheckKeyValues disagrees", tt.name)
		}
	}
	if _, err := AppendKeyValues(nil, Draft16, []KeyValue{{Type: 1, Bytes: make([]byte, 65536)}}); !errors.Is(err, ErrValue) {
		t.Errorf("value of 65,536 bytes: %v", err)
	}
}

func FuzzKeyValues(f *testing.F) {
	f.Add([]byte{4, 0xc0, 0, 0, 0, 0x82, 0x57, 0xf8, 0xd3, 0x40, 73, 1, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range Versions() {
			fuzzKeyValues(t, v, b)
		}
	})
}

func fuzzKeyValues(t *testing.T, v Version, b []byte) {
	kvs, err := ParseKeyValues(b, v)
	if (err == nil) != (CheckKeyValues(b, v) == nil) {
		t.Fatal("ParseKeyValues and CheckKeyValues disagree")
	}
	if err != nil {
		return
	}
	enc, err := AppendKeyValues(nil, v, kvs)
	if err != nil {
		if errors.Is(err, ErrValue) {
			return // a type that deltas can reach but none can express again
		}
		t.Fatal(err)
	}
	again, err := ParseKeyValues(enc, v)
	if err != nil || !reflect.DeepEqual(again, kvs) {
		t.Fatalf("%v became %v (%v)", kvs, again, err)
	}
}
