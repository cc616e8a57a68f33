package ts

import "errors"

var (
	// ErrPES: the payload does not start a PES packet.
	ErrPES = errors.New("not a PES header")
	// ErrPESShort: the header goes on beyond the payload given.
	ErrPESShort = errors.New("PES header is cut short")
)

// PES is the header of a PES packet, H.222.0 §2.4.3.6.
type PES struct {
	StreamID      uint8
	Length        int    // PES_packet_length; 0 is unbounded (video)
	PTS, DTS      uint64 // 33 bits, 90 kHz; DTS equals PTS where only PTS is sent
	HasPTS        bool
	HasDTS        bool
	DataAlignment bool
	HeaderLen     int // bytes before the elementary stream
}

// bare tells whether packets of this stream_id have no header after PES_packet_length (table 2-21).
func bare(id uint8) bool {
	switch id {
	case 0xbc, 0xbe, 0xbf, 0xf0, 0xf1, 0xf2, 0xf8, 0xff:
		return true
	}
	return false
}

// ParsePES reads the header at the start of payload. PTS and DTS may be known even with ErrPESShort, when
// only optional fields after them are cut off.
func ParsePES(payload []byte) (PES, error) {
	var h PES
	if len(payload) < 6 {
		return h, ErrPESShort
	}
	if payload[0] != 0 || payload[1] != 0 || payload[2] != 1 || payload[3] < 0xbc {
		return h, ErrPES
	}
	h.StreamID = payload[3]
	h.Length = int(payload[4])<<8 | int(payload[5])
	if bare(h.StreamID) {
		h.HeaderLen = 6
		return h, nil
	}
	if len(payload) < 9 {
		return h, ErrPESShort
	}
	if payload[6]&0xc0 != 0x80 {
		return h, ErrPES
	}
	h.DataAlignment = payload[6]&0x04 != 0
	flags, n := payload[7]>>6, int(payload[8])
	if flags == 1 || flags >= 2 && n < 5 || flags == 3 && n < 10 {
		return h, ErrPES
	}
	h.HeaderLen = 9 + n
	if flags >= 2 {
		if len(payload) < 14 {
			return h, ErrPESShort
		}
		v, ok := stamp(payload[9:14])
		if !ok {
			return h, ErrPES
		}
		h.PTS, h.DTS, h.HasPTS = v, v, true
	}
	if flags == 3 {
		if len(payload) < 19 {
			return h, ErrPESShort
		}
		v, ok := stamp(payload[14:19])
		if !ok {
			return h, ErrPES
		}
		h.DTS, h.HasDTS = v, true
	}
	if len(payload) < h.HeaderLen {
		return h, ErrPESShort
	}
	return h, nil
}

// Append writes the header, with PTS and DTS as the Has fields say.
func (h PES) Append(b []byte) []byte {
	b = append(b, 0, 0, 1, h.StreamID, byte(h.Length>>8), byte(h.Length))
	if bare(h.StreamID) {
		return b
	}
	first := byte(0x80)
	if h.DataAlignment {
		first |= 0x04
	}
	switch {
	case h.HasPTS && h.HasDTS:
		b = append(b, first, 0xc0, 10)
		b = appendStamp(b, 3, h.PTS)
		return appendStamp(b, 1, h.DTS)
	case h.HasPTS:
		b = append(b, first, 0x80, 5)
		return appendStamp(b, 2, h.PTS)
	}
	return append(b, first, 0, 0)
}

func stamp(b []byte) (uint64, bool) {
	v := uint64(b[0]>>1&7)<<30 | uint64(b[1])<<22 | uint64(b[2]>>1)<<15 | uint64(b[3])<<7 | uint64(b[4]>>1)
	return v, b[0]&b[2]&b[4]&1 == 1 // the marker bits
}

func appendStamp(b []byte, prefix byte, v uint64) []byte {
	return append(b, prefix<<4|byte(v>>30&7)<<1|1, byte(v>>22), byte(v>>15)<<1|1, byte(v>>7), byte(v)<<1|1)
}

// PESBegin is where in an elementary stream the data of a PES packet begin.
type PESBegin struct {
	PES
	At int
}

// Elementary returns the elementary stream on a PID of whole packets, without PES headers and second copies, and its PES packets.
func Elementary(b []byte, pid PID) (stream []byte, begins []PESBegin) {
	var cc Continuity
	for ; len(b) >= PacketSize; b = b[PacketSize:] {
		p := (*Packet)(b)
		if p.PID() != pid || !p.HasPayload() || cc.Check(p) == Duplicate {
			continue
		}
		body := p.Payload()
		if p.UnitStart() {
			h, err := ParsePES(body)
			if err != nil {
				continue
			}
			begins = append(begins, PESBegin{h, len(stream)})
			body = body[h.HeaderLen:]
		}
		stream = append(stream, body...)
	}
	return stream, begins
}
