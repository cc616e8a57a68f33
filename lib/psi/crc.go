package psi

import "encoding/binary"

// CRC32 is CRC_32 of H.222.0 annex A: polynomial 0x04C11DB7, not reflected, preset to ones. Over a
// section with its CRC_32 it is 0.
func CRC32(b []byte) uint32 {
	crc := ^uint32(0)
	for ; len(b) >= len(crcTables); b = b[len(crcTables):] {
		x := binary.BigEndian.Uint64(b) ^ uint64(crc)<<32
		crc = crcTables[7][x>>56] ^ crcTables[6][byte(x>>48)] ^ crcTables[5][byte(x>>40)] ^ crcTables[4][byte(x>>32)] ^
			crcTables[3][byte(x>>24)] ^ crcTables[2][byte(x>>16)] ^ crcTables[1][byte(x>>8)] ^ crcTables[0][byte(x)]
	}
	for _, c := range b {
		crc = crc<<8 ^ crcTables[0][byte(crc>>24)^c]
	}
	return crc
}

// crcTables[n] is what a byte with n bytes of 0 behind it comes to.
var crcTables = func() (t [8][256]uint32) {
	for i := range t[0] {
		c := uint32(i) << 24
		for n := range t {
			for range 8 {
				if c&0x80000000 != 0 {
					c = c<<1 ^ 0x04c11db7
				} else {
					c <<= 1
				}
			}
			t[n][i] = c
		}
	}
	return t
}()
