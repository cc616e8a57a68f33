package hdhr

import (
	"errors"
	"testing"
)

func TestDeviceID(t *testing.T) {
	for _, c := range []struct {
		s  string
		ok bool
	}{
		{"10500009", true},
		{"1050002C", true},
		{"1050002c", true},
		{"10500008", false}, // last digit
		{"01500009", false}, // digits swapped
		{"FFFFFFFF", false}, // the wildcard
		{"00000000", false},
		{"1050000", false},
		{"105000099", false},
		{"hello123", false},
		{"", false},
	} {
		id, err := ParseDeviceID(c.s)
		if (err == nil) != c.ok || !c.ok && !errors.Is(err, ErrDeviceID) {
			t.Errorf("%q: %s, %v", c.s, id, err)
		}
	}
}

func TestWithChecksum(t *testing.T) {
	for id := DeviceID(0x10500000); id < 0x10500100; id += 0x10 {
		if got := id.WithChecksum(); !got.Valid() || got>>4 != id>>4 {
			t.Errorf("%s became %s", id, got)
		}
	}
}
