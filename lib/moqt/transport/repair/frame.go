package repair

import (
	"encoding/binary"
	"errors"
)

// Types of frames: the first byte of a datagram. RFC 9443 §2 gives 4–15 to nobody: QUIC has 64 and more (the fixed bit), STUN 0–3.
const (
	typeHello   = 8
	typeCookie  = 9
	typeConfirm = 10
	typeData    = 11 // a datagram of QUIC with a number
	typeResend  = 12 // the same again
	typeParity  = 13
	typeControl = 14
	typeProbe   = 15 // a datagram of QUIC that looks for the path's MTU
)

// isFrame tells a frame of this layer by its first byte.
func isFrame(b []byte) bool { return len(b) > 0 && b[0] >= typeHello && b[0] <= typeProbe }

const (
	headLen   = 9                      // type, path, number
	dataOver  = headLen + tagLen       // what a data frame adds
	parityPre = headLen + 3            // and how many data and parity frames the group has, and which one this is
	maxOver   = parityPre + 2 + tagLen // the most that a frame is longer than the datagrams that it is made of
	probePre  = headLen + 1            // and how many bytes of padding

	maxGroup  = 32   // datagrams in a group
	maxParity = 16   // parity frames of a group
	maxInner  = 1500 // bytes in a datagram of QUIC that is given a number; longer ones pass plain
)

var errFrame = errors.New("malformed frame")

// head begins all frames but those of the handshake.
type head struct {
	kind byte
	path uint32
	num  uint32 // low bits of the number: of the datagram, of the first one in the group, or of the control frame
}

func (h head) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, h.kind), h.path)
	return binary.BigEndian.AppendUint32(b, h.num)
}

// parseHead reads the head of a frame; the frame has room for a tag.
func parseHead(b []byte) (head, error) {
	if len(b) < dataOver || b[0] < typeData || b[0] > typeProbe {
		return head{}, errFrame
	}
	return head{b[0], binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:])}, nil
}

// expand finds the number nearest to near with these low bits.
func expand(low uint32, near uint64) uint64 {
	d := int64(int32(low - uint32(near)))
	if d < 0 && uint64(-d) > near {
		return near + uint64(uint32(d))
	}
	return near + uint64(d)
}

// parity is a parity frame without head and tag.
type parity struct {
	k, m, index int
	shard       []byte // of the code; the data shards are datagrams, each behind its length
}

func parseParity(body []byte) (parity, error) {
	if len(body) < 3+2 {
		return parity{}, errFrame
	}
	p := parity{int(body[0]), int(body[1]), int(body[2]), body[3:]}
	if p.k < 1 || p.k > maxGroup || p.m < 1 || p.m > maxParity || p.index >= p.m || len(p.shard) > maxInner+2 {
		return parity{}, errFrame
	}
	return p, nil
}

// control is the body of a control frame: what this side sent, what it got, and what it lacks.
type control struct {
	stamp  uint32 // µs of the sender's clock
	echo   uint32 // the newest stamp that it got
	waited uint32 // µs since it got that; all ones: it got none

	plain uint32 // datagrams sent without a number
	next  uint32 // the number of the next datagram that gets one

	gotPlain uint32 // datagrams that came without a number
	high     uint32 // one more than the highest number that came
	got      uint32 // numbered datagrams that came by themselves, not repaired
	runs     uint32 // runs of missing numbers
	short    uint32 // datagrams that parity did not bring back

	missing []span

	challenge uint64 // to an address at which the peer has not shown to be; 0: none
	answer    uint64 // the peer's challenge; 0: none
}

// span is a run of missing numbers.
type span struct {
	first uint32
	n     byte // at least 1
}

const (
	controlFixed = 10*4 + 1
	maxSpans     = 60
	nothingYet   = ^uint32(0)
)

func (c control) append(b []byte) []byte {
	for _, v := range []uint32{c.stamp, c.echo, c.waited, c.plain, c.next, c.gotPlain, c.high, c.got, c.runs, c.short} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = append(b, byte(len(c.missing)))
	for _, s := range c.missing {
		b = append(binary.BigEndian.AppendUint32(b, s.first), s.n)
	}
	if c.challenge|c.answer != 0 {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, c.challenge), c.answer)
	}
	return b
}

func parseControl(b []byte) (c control, err error) {
	if len(b) < controlFixed {
		return c, errFrame
	}
	for _, v := range []*uint32{&c.stamp, &c.echo, &c.waited, &c.plain, &c.next, &c.gotPlain, &c.high, &c.got, &c.runs, &c.short} {
		*v, b = binary.BigEndian.Uint32(b), b[4:]
	}
	n := int(b[0])
	if b = b[1:]; n > maxSpans || len(b) < 5*n {
		return c, errFrame
	}
	for range n {
		if b[4] == 0 {
			return c, errFrame
		}
		c.missing = append(c.missing, span{binary.BigEndian.Uint32(b), b[4]})
		b = b[5:]
	}
	if len(b) >= 2*8 {
		c.challenge, c.answer = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	}
	return c, nil // what follows is of a later version
}

// appendProbe wraps a datagram of QUIC so that the frame is as long as the longest that repair would make of it.
func appendProbe(b []byte, h head, inner []byte) []byte {
	pad := maxOver - probePre - tagLen
	b = append(h.append(b), byte(pad))
	b = append(b, inner...)
	return append(b, make([]byte, pad)...)
}

// probeInner returns the datagram in the body of a probe.
func probeInner(body []byte) ([]byte, error) {
	if len(body) < 1 || len(body)-1 < int(body[0]) {
		return nil, errFrame
	}
	return body[1 : len(body)-int(body[0])], nil
}
