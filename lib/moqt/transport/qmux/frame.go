package qmux

import (
	"github.com/quic-go/quic-go/quicvarint"
)

// Frame types (RFC 9000 §19, RFC 9221 §4, and §4 of the draft).
const (
	framePadding            = 0x00
	frameResetStream        = 0x04
	frameStopSending        = 0x05
	frameStream             = 0x08 // to 0x0f, with the flags below
	frameMaxData            = 0x10
	frameMaxStreamData      = 0x11
	frameMaxStreamsBidi     = 0x12
	frameMaxStreamsUni      = 0x13
	frameDataBlocked        = 0x14
	frameStreamDataBlocked  = 0x15
	frameStreamsBlockedBidi = 0x16
	frameStreamsBlockedUni  = 0x17
	frameConnectionClose    = 0x1c
	frameApplicationClose   = 0x1d
	frameDatagram           = 0x30
	frameDatagramLen        = 0x31
	frameParameters         = 0x3f5153300d0a0d0a // QX_TRANSPORT_PARAMETERS
	framePing               = 0x348c67529ef8c7bd // QX_PING, the request
	framePong               = 0x348c67529ef8c7be // QX_PING, the response

	streamFin = 0x01
	streamLen = 0x02
	streamOff = 0x04
)

// maxVarint is the largest value of RFC 9000 §16.
const maxVarint = 1<<62 - 1

// frame is one frame read from a record; which fields count depends on kind.
type frame struct {
	kind   uint64 // frame type; frameStream for all of STREAM, frameDatagram for both of DATAGRAM
	stream uint64 // stream id
	value  uint64 // STREAM: offset; RESET_STREAM: final size; MAX_*: the limit; QX_PING: sequence number
	code   uint64 // RESET_STREAM, STOP_SENDING, CONNECTION_CLOSE
	data   []byte // payload, reason phrase or transport parameters, inside the record
	hasOff bool   // STREAM: value was sent
	fin    bool   // STREAM
	size   int    // of the frame in the record
	last   bool   // nothing follows in the record; set by the connection
}

// parseFrame reads the frame at the beginning of a record and returns what follows it. Padding is one frame however long.
// Every error is a *TransportError.
func parseFrame(b []byte) (f frame, rest []byte, err error) {
	p := parser{b: b}
	f.kind = p.varint()
	switch k := f.kind; {
	case k == framePadding:
		for len(p.b) > 0 && p.b[0] == 0 {
			p.b = p.b[1:]
		}
	case k >= frameStream && k <= frameStream|streamFin|streamLen|streamOff:
		f.kind, f.fin, f.hasOff = frameStream, k&streamFin != 0, k&streamOff != 0
		f.stream = p.varint()
		if f.hasOff {
			f.value = p.varint()
		}
		if k&streamLen != 0 {
			f.data = p.bytes(p.varint())
		} else {
			f.data = p.bytes(uint64(len(p.b)))
		}
		if f.value+uint64(len(f.data)) > maxVarint { // RFC 9000 §19.8
			return f, nil, broken(FrameEncodingError, "STREAM beyond 2^62-1")
		}
	case k == frameResetStream:
		f.stream, f.code, f.value = p.varint(), p.varint(), p.varint()
	case k == frameStopSending:
		f.stream, f.code = p.varint(), p.varint()
	case k == frameMaxData, k == frameDataBlocked:
		f.value = p.varint()
	case k == frameMaxStreamData, k == frameStreamDataBlocked:
		f.stream, f.value = p.varint(), p.varint()
	case k >= frameMaxStreamsBidi && k <= frameMaxStreamsUni, k == frameStreamsBlockedBidi, k == frameStreamsBlockedUni:
		if f.value = p.varint(); f.value > 1<<60 { // RFC 9000 §19.11, §19.14
			return f, nil, broken(FrameEncodingError, "more than 2^60 streams")
		}
	case k == frameConnectionClose:
		f.code = p.varint()
		p.varint() // the frame type that was wrong
		f.data = p.bytes(p.varint())
	case k == frameApplicationClose:
		f.code = p.varint()
		f.data = p.bytes(p.varint())
	case k == frameDatagram:
		f.data = p.bytes(uint64(len(p.b)))
	case k == frameDatagramLen:
		f.kind, f.data = frameDatagram, p.bytes(p.varint())
	case k == frameParameters:
		f.data = p.bytes(p.varint())
	case k == framePing, k == framePong:
		f.value = p.varint()
	case !p.short: // frames of the handshake, of paths and of acknowledgements are prohibited (§4)
		return f, nil, broken(FrameEncodingError, "frame of type %#x", k)
	}
	if p.short {
		return f, nil, broken(FrameEncodingError, "record ends inside a frame")
	}
	f.size = len(b) - len(p.b)
	return f, p.b, nil
}

// parser reads from a slice; after the first read beyond its end, short is set and everything reads as zero.
type parser struct {
	b     []byte
	short bool
}

func (p *parser) varint() uint64 {
	v, n, err := quicvarint.Parse(p.b)
	if err != nil {
		p.b, p.short = nil, true
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *parser) bytes(n uint64) []byte {
	if n > uint64(len(p.b)) {
		p.b, p.short = nil, true
		return nil
	}
	b := p.b[:n:n]
	p.b = p.b[n:]
	return b
}

// Upper bounds of what the append functions add.
const (
	maxStreamHeader = 1 + 8 + 8 + 4
	maxSmallFrame   = 8 + 8 + 8 + 8
)

func appendVarints(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = quicvarint.Append(b, v)
	}
	return b
}

// appendStreamHeader begins a STREAM frame with n bytes of payload; the offset is always sent.
func appendStreamHeader(b []byte, id, offset uint64, n int, fin bool) []byte {
	kind := byte(frameStream | streamOff | streamLen)
	if fin {
		kind |= streamFin
	}
	return appendVarints(append(b, kind), id, offset, uint64(n))
}

// appendClose is a CONNECTION_CLOSE with a reason cut to what any record holds.
func appendClose(b []byte, err error) []byte {
	const maxReason = 1024
	var reason string
	switch e := err.(type) {
	case *ApplicationError:
		b, reason = appendVarints(b, frameApplicationClose, e.Code), e.Reason
	case *TransportError:
		b, reason = appendVarints(b, frameConnectionClose, uint64(e.Code), 0), e.Reason
	default:
		b, reason = appendVarints(b, frameConnectionClose, uint64(InternalError), 0), err.Error()
	}
	reason = reason[:min(len(reason), maxReason)]
	return append(quicvarint.Append(b, uint64(len(reason))), reason...)
}
