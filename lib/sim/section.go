package sim

import (
	"every.channel/ec/lib/ts"
)

// header starts a section of the long form (H.222.0 §2.4.4.10): table_id, the flag bits above
// section_length, table_id_extension, version.
func header(b []byte, id, flags byte, extension uint16, version int) []byte {
	return append(b, id, flags, 0, byte(extension>>8), byte(extension), 0xc1|byte(version&0x1f)<<1, 0, 0)
}

// seal fills in section_length and adds the CRC of a section that starts at b[0].
func seal(b []byte) []byte {
	n := len(b) - 3 + 4
	b[1] |= byte(n>>8) & 0x0f
	b[2] = byte(n)
	c := crc32(b)
	return append(b, byte(c>>24), byte(c>>16), byte(c>>8), byte(c))
}

// crc32 is the checksum of H.222.0 annex A.
func crc32(b []byte) uint32 {
	c := ^uint32(0)
	for _, v := range b {
		c ^= uint32(v) << 24
		for range 8 {
			if c&(1<<31) != 0 {
				c = c<<1 ^ 0x04c11db7
			} else {
				c <<= 1
			}
		}
	}
	return c
}

func u16(b []byte, v uint16) []byte { return append(b, byte(v>>8), byte(v)) }
func u32(b []byte, v uint32) []byte { return append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v)) }

// loop appends what f appends, with a length of 12 bits and four bits set before it.
func loop(b []byte, high byte, f func(b []byte) []byte) []byte {
	at := len(b)
	b = f(append(b, 0, 0))
	n := len(b) - at - 2
	b[at], b[at+1] = high|byte(n>>8), byte(n)
	return b
}

// packetize cuts a section into packets, the first with a pointer_field (H.222.0 §2.4.4.1).
func packetize(section []byte, pid ts.PID, cc uint8, put func(*ts.Packet)) {
	for start := true; len(section) > 0; start = false {
		var p ts.Packet
		p.SetHeader(pid, start, cc)
		cc++
		body := p[4:]
		if start {
			body[0] = 0
			body = body[1:]
		}
		n := copy(body, section)
		section = section[n:]
		for i := n; i < len(body); i++ {
			body[i] = 0xff
		}
		put(&p)
	}
}

// packetCount is how many packets a section of n bytes takes.
func packetCount(n int) int { return (1 + n + ts.PacketSize - 5) / (ts.PacketSize - 4) }
