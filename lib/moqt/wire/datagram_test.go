package wire

import (
	"errors"
	"reflect"
	"testing"
)

func TestDatagramInEveryForm(t *testing.T) {
	types := map[byte]bool{}
	for _, id := range []uint64{0, 9} {
		for _, prio := range []*uint8{nil, ptr(uint8(3))} {
			for _, props := range [][]byte{nil, {0x3c, 1}} {
				for _, d := range []Datagram{
					{Payload: []byte("payload")},
					{Payload: []byte{}},
					{Payload: []byte("last"), EndOfGroup: true},
					{HasStatus: true, Status: StatusNormal},
				} {
					d.TrackAlias, d.Group, d.ID, d.Priority, d.Properties = 300, 1<<30, id, prio, props
					b, err := d.Append(nil, Draft16)
					if err != nil {
						t.Fatal(err)
					}
					types[b[0]] = true
					got, err := ParseDatagram(b, Draft16)
					if err != nil || !reflect.DeepEqual(got, d) {
						t.Errorf("%+v came back as %+v (%v)", d, got, err)
					}
				}
			}
		}
	}
	if len(types) != 24 {
		t.Errorf("%d types written, draft 16 has 24", len(types))
	}
}

func TestDatagramsRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":                   {},
		"type 0x10":                 {0x10, 1, 1, 1, 1},
		"type 0x40":                 {0x40, 0x40, 1, 1, 1, 1},
		"status with end of group":  {0x22, 1, 1, 1, 1, 3},
		"properties bit, none":      {0x01, 1, 1, 1, 1, 0, 9},
		"properties longer than it": {0x01, 1, 1, 1, 1, 0xdf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"status 9":                  {0x20, 1, 1, 1, 1, 9},
		"status with properties":    {0x21, 1, 1, 1, 1, 2, 0x3c, 1, 3},
		"bytes after a status":      {0x20, 1, 1, 1, 1, 3, 0},
		"no priority":               {0x00, 1, 1, 1},
	} {
		if _, err := ParseDatagram(b, Draft16); err == nil || Code(err) != ProtocolViolation {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (Datagram{HasStatus: true, EndOfGroup: true}).Append(nil, Draft16); !errors.Is(err, ErrValue) {
		t.Errorf("status with end of group was written: %v", err)
	}
}

func FuzzDatagram(f *testing.F) {
	f.Add([]byte{0x01, 1, 2, 0, 0x80, 3, 2, 0x53, 0x88, 1, 2})
	f.Add([]byte{0x2d, 1, 2, 2, 0x3c, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range Versions() {
			fuzzDatagram(t, v, b)
		}
	})
}

func fuzzDatagram(t *testing.T, v Version, b []byte) {
	d, err := ParseDatagram(b, v)
	if err != nil {
		return
	}
	enc, err := d.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseDatagram(enc, v); err != nil || !reflect.DeepEqual(again, d) {
		t.Fatalf("%+v became %+v (%v)", d, again, err)
	}
}
