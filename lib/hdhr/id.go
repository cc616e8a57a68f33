package hdhr

import (
	"errors"
	"fmt"
	"strconv"
)

// DeviceID identifies a device; its eight hex digits are printed on the label.
type DeviceID uint32

// AnyDevice is the wildcard of a discovery request.
const AnyDevice DeviceID = 0xffffffff

// ErrDeviceID says that a device id has a mistyped digit.
var ErrDeviceID = errors.New("not a device id")

// ParseDeviceID reads the eight hex digits that a user typed and checks the checksum in them.
func ParseDeviceID(s string) (DeviceID, error) {
	v, err := strconv.ParseUint(s, 16, 32)
	if err != nil || len(s) != 8 {
		return 0, fmt.Errorf("%q: %w: want 8 hex digits", s, ErrDeviceID)
	}
	if id := DeviceID(v); id.Valid() {
		return id, nil
	}
	return 0, fmt.Errorf("%q: %w: checksum mismatch", s, ErrDeviceID)
}

// String returns the eight upper-case hex digits.
func (id DeviceID) String() string { return fmt.Sprintf("%08X", uint32(id)) }

// Valid reports whether the checksum in the id is right and the id is not the wildcard or zero.
func (id DeviceID) Valid() bool { return id != 0 && id != AnyDevice && id.checksum() == 0 }

// WithChecksum returns the id with its last digit made to fit the others.
func (id DeviceID) WithChecksum() DeviceID {
	return id ^ DeviceID(id.checksum())
}

// checksum is zero for a valid id (hdhomerun_discover_validate_device_id).
func (id DeviceID) checksum() byte {
	table := [16]byte{0xa, 0x5, 0xf, 0x6, 0x7, 0xc, 0x1, 0xb, 0x9, 0x2, 0x8, 0xd, 0x4, 0x3, 0xe, 0x0}
	var sum byte
	for shift := 28; shift >= 0; shift -= 8 {
		sum ^= table[id>>shift&0xf] ^ byte(id>>(shift-4)&0xf)
	}
	return sum
}
