package hdhr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// PacketType says what a packet's payload holds (hdhomerun_pkt.h).
type PacketType uint16

// The packet types (hdhomerun_pkt.h).
const (
	TypeDiscoverRequest PacketType = 2
	TypeDiscoverReply   PacketType = 3
	TypeGetSetRequest   PacketType = 4
	TypeGetSetReply     PacketType = 5
	TypeUpgradeRequest  PacketType = 6
	TypeUpgradeReply    PacketType = 7
)

// MaxPacket is the size of the largest packet, header and CRC included.
const MaxPacket = 1460

const (
	packetHeader = 4
	packetCRC    = 4
	maxPayload   = MaxPacket - packetHeader - packetCRC
)

// Packet errors. ErrShort means that more bytes may complete the packet; the others do not heal.
var (
	ErrShort = errors.New("packet incomplete")
	ErrLong  = errors.New("packet longer than 1460 bytes")
	ErrCRC   = errors.New("packet CRC mismatch")
)

// Packet is one discovery or control packet: u16 type, u16 payload length, payload, all big-endian,
// then the CRC-32 (IEEE 802.3) of everything before it, little-endian.
type Packet struct {
	Type    PacketType
	Payload []byte
}

// Append appends the wire form of p to b. The payload must not exceed 1452 bytes.
func (p Packet) Append(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, uint16(p.Type))
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.Payload)))
	b = append(b, p.Payload...)
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
}

// ParsePacket reads one packet from the start of b and returns how many bytes it took.
// The payload aliases b.
func ParsePacket(b []byte) (Packet, int, error) {
	if len(b) < packetHeader {
		return Packet{}, 0, ErrShort
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n > maxPayload {
		return Packet{}, 0, fmt.Errorf("payload of %d bytes: %w", n, ErrLong)
	}
	end := packetHeader + n
	if len(b) < end+packetCRC {
		return Packet{}, 0, ErrShort
	}
	if crc32.ChecksumIEEE(b[:end]) != binary.LittleEndian.Uint32(b[end:]) {
		return Packet{}, 0, ErrCRC
	}
	return Packet{PacketType(binary.BigEndian.Uint16(b)), b[packetHeader:end]}, end + packetCRC, nil
}

// Tag names a value in a payload (hdhomerun_pkt.h).
type Tag uint8

// The tags (hdhomerun_pkt.h).
const (
	TagDeviceType  Tag = 0x01
	TagDeviceID    Tag = 0x02
	TagName        Tag = 0x03
	TagValue       Tag = 0x04
	TagError       Tag = 0x05
	TagTunerCount  Tag = 0x10
	TagLockKey     Tag = 0x15
	TagLineupURL   Tag = 0x27
	TagStorageURL  Tag = 0x28
	TagDeviceAuthB Tag = 0x29 // 18 bytes, deprecated
	TagBaseURL     Tag = 0x2a
	TagDeviceAuth  Tag = 0x2b
	TagStorageID   Tag = 0x2c
	TagMultiType   Tag = 0x2d
)

func appendTLV(b []byte, t Tag, v []byte) []byte {
	b = appendTL(b, t, len(v))
	return append(b, v...)
}

func appendTLVString(b []byte, t Tag, v string) []byte {
	return append(appendTL(b, t, len(v)), v...)
}

func appendTLV32(b []byte, t Tag, v uint32) []byte {
	return binary.BigEndian.AppendUint32(appendTL(b, t, 4), v)
}

// appendTL appends tag and length: one byte below 128, else the low seven bits with the top bit set
// and then the rest.
func appendTL(b []byte, t Tag, n int) []byte {
	if n < 0x80 {
		return append(b, byte(t), byte(n))
	}
	return append(b, byte(t), byte(n)|0x80, byte(n>>7))
}

// nextTLV reads one value and returns what follows it. ok is false at the end and at a value that
// the payload does not hold whole: the reference reader stops there without an error too.
func nextTLV(b []byte) (t Tag, v, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, nil, false
	}
	t, n, head := Tag(b[0]), int(b[1]), 2
	if n&0x80 != 0 {
		if len(b) < 3 {
			return 0, nil, nil, false
		}
		n, head = n&0x7f|int(b[2])<<7, 3
	}
	if len(b) < head+n {
		return 0, nil, nil, false
	}
	return t, b[head : head+n], b[head+n:], true
}
