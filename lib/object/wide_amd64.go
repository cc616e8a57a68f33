package object

import (
	"encoding/binary"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// BLAKE3 of large payloads on processors with AVX-512: sixteen chunks side by side take about half the time that the library's eight do. Small ones leave
// lanes idle, and some processors lower their clock for what comes after, so they are left to the library.
// Names and figures are those of the BLAKE3 paper, §2.

const (
	chunkLen = 1024
	blockLen = 64
	lanes    = 16
	wideMin  = 64 << 10
	levelMax = 16 * lanes // chunks whose chaining values are joined level by level

	flagChunkStart = 1
	flagChunkEnd   = 2
	flagParent     = 4
	flagRoot       = 8
)

var haveWide = cpu.X86.HasAVX512F

type chainingValue [8]uint32

// compress16 hashes sixteen inputs of whole blocks, stride bytes apart, to their chaining values. The flags are those of the first block, of every
// block and of the last.
//
//go:noescape
func compress16(out *[lanes]chainingValue, in *byte, stride, blocks int, counter *[2][lanes]uint32, first, every, last uint32)

// sumWide is Sum of more than one chunk.
func sumWide(b []byte) (h Hash) {
	var root [16]uint32
	children(b, 0, &root)
	cv := compress(&iv, &root, 0, blockLen, flagParent|flagRoot)
	for i, w := range cv {
		binary.LittleEndian.PutUint32(h[4*i:], w)
	}
	return h
}

// children leaves the chaining values of the two subtrees of an input of more than one chunk; counter is the number of its first.
func children(b []byte, counter uint64, out *[16]uint32) {
	n := (len(b) + chunkLen - 1) / chunkLen
	if n <= levelMax {
		level(b, n, counter, out)
		return
	}
	left := 1 << (bits.Len(uint(n-1)) - 1) // the largest power of two that leaves something for the right
	var pair [16]uint32
	children(b[:left*chunkLen], counter, &pair)
	l := compress(&iv, &pair, 0, blockLen, flagParent)
	r := subtree(b[left*chunkLen:], counter+uint64(left))
	copy(out[:8], l[:])
	copy(out[8:], r[:])
}

// subtree is the chaining value of an input that is not the whole.
func subtree(b []byte, counter uint64) chainingValue {
	if len(b) <= chunkLen {
		return chunk(b, counter)
	}
	var pair [16]uint32
	children(b, counter, &pair)
	return compress(&iv, &pair, 0, blockLen, flagParent)
}

// level is children for n chunks, not more than levelMax. Joining neighbours, and leaving an odd one for the next level, comes to the tree of the paper.
func level(b []byte, n int, counter uint64, out *[16]uint32) {
	var cvs [levelMax + 2*lanes]chainingValue
	var count [2][lanes]uint32
	for i := 0; i < n; i += lanes {
		for l := range lanes {
			c := counter + uint64(i+l)
			count[0][l], count[1][l] = uint32(c), uint32(c>>32)
		}
		in := b[i*chunkLen:]
		if len(in) < lanes*chunkLen {
			rest(in, counter+uint64(i), &count, (*[lanes]chainingValue)(cvs[i:]))
			break
		}
		compress16((*[lanes]chainingValue)(cvs[i:]), &in[0], chunkLen, chunkLen/blockLen, &count, flagChunkStart, 0, flagChunkEnd)
	}
	count = [2][lanes]uint32{}
	for ; n > 2; n = (n + 1) / 2 {
		odd := cvs[n-1]
		for i := 0; i < n/2; i += lanes {
			compress16((*[lanes]chainingValue)(cvs[i:]), (*byte)(unsafe.Pointer(&cvs[2*i])), blockLen, 1, &count, 0, flagParent, 0)
		}
		if n%2 == 1 {
			cvs[n/2] = odd
		}
	}
	copy(out[:8], cvs[0][:])
	copy(out[8:], cvs[1][:])
}

// rest hashes fewer than sixteen chunks, the last of which may be short.
func rest(b []byte, counter uint64, count *[2][lanes]uint32, out *[lanes]chainingValue) {
	whole := len(b) / chunkLen
	if whole > 0 {
		var room [lanes * chunkLen]byte
		copy(room[:], b[:whole*chunkLen])
		compress16(out, &room[0], chunkLen, chunkLen/blockLen, count, flagChunkStart, 0, flagChunkEnd)
	}
	if len(b) > whole*chunkLen {
		out[whole] = chunk(b[whole*chunkLen:], counter+uint64(whole))
	}
}

var iv = chainingValue{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}

// chunk is the chaining value of one chunk.
func chunk(b []byte, counter uint64) chainingValue {
	cv := iv
	flags := uint32(flagChunkStart)
	for {
		var m [16]uint32
		n := min(len(b), blockLen)
		if n == blockLen {
			for i := range m {
				m[i] = binary.LittleEndian.Uint32(b[4*i:])
			}
		} else {
			var block [blockLen]byte
			copy(block[:], b)
			for i := range m {
				m[i] = binary.LittleEndian.Uint32(block[4*i:])
			}
		}
		if b = b[n:]; len(b) == 0 {
			flags |= flagChunkEnd
		}
		cv = compress(&cv, &m, counter, uint32(n), flags)
		if len(b) == 0 {
			return cv
		}
		flags = 0
	}
}

// schedule is which message words the rounds take.
var schedule = [7][16]uint8{
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	{2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
	{3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1},
	{10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
	{12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4},
	{9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
	{11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13},
}

// compress is the compression function.
func compress(cv *chainingValue, m *[16]uint32, counter uint64, length, flags uint32) chainingValue {
	v0, v1, v2, v3, v4, v5, v6, v7 := cv[0], cv[1], cv[2], cv[3], cv[4], cv[5], cv[6], cv[7]
	v8, v9, v10, v11, v12, v13, v14, v15 := iv[0], iv[1], iv[2], iv[3], uint32(counter), uint32(counter>>32), length, flags
	for i := range schedule {
		s := &schedule[i]
		v0, v4, v8, v12 = quarter(v0, v4, v8, v12, m[s[0]&15], m[s[1]&15])
		v1, v5, v9, v13 = quarter(v1, v5, v9, v13, m[s[2]&15], m[s[3]&15])
		v2, v6, v10, v14 = quarter(v2, v6, v10, v14, m[s[4]&15], m[s[5]&15])
		v3, v7, v11, v15 = quarter(v3, v7, v11, v15, m[s[6]&15], m[s[7]&15])
		v0, v5, v10, v15 = quarter(v0, v5, v10, v15, m[s[8]&15], m[s[9]&15])
		v1, v6, v11, v12 = quarter(v1, v6, v11, v12, m[s[10]&15], m[s[11]&15])
		v2, v7, v8, v13 = quarter(v2, v7, v8, v13, m[s[12]&15], m[s[13]&15])
		v3, v4, v9, v14 = quarter(v3, v4, v9, v14, m[s[14]&15], m[s[15]&15])
	}
	return chainingValue{v0 ^ v8, v1 ^ v9, v2 ^ v10, v3 ^ v11, v4 ^ v12, v5 ^ v13, v6 ^ v14, v7 ^ v15}
}

// quarter is the quarter round.
func quarter(a, b, c, d, x, y uint32) (uint32, uint32, uint32, uint32) {
	a += b + x
	d = bits.RotateLeft32(d^a, -16)
	c += d
	b = bits.RotateLeft32(b^c, -12)
	a += b + y
	d = bits.RotateLeft32(d^a, -8)
	c += d
	b = bits.RotateLeft32(b^c, -7)
	return a, b, c, d
}
