// Package ts reads and writes MPEG transport stream packets: bytes of any framing (188, 192 or 204,
// with garbage around them) go in, aligned packets and what was lost between them come out. It knows
// packets, continuity and PES headers, not tables.
//
// See ITU-T H.222.0 | ISO/IEC 13818-1 §2.4.3.
package ts

const (
	// PacketSize is the length of a transport packet.
	PacketSize = 188
	// SyncByte starts every packet.
	SyncByte = 0x47
	// PCRWrap is the modulus of a PCR in 27 MHz ticks.
	PCRWrap = 1 << 33 * 300
)

// PID identifies the packets of one stream, 13 bits.
type PID uint16

// PIDs with a fixed meaning: H.222.0 table 2-3, EN 300 468 table 1, A/65 §4.1.
const (
	PIDPAT  PID = 0x0000
	PIDCAT  PID = 0x0001
	PIDNIT  PID = 0x0010
	PIDSDT  PID = 0x0011
	PIDEIT  PID = 0x0012
	PIDTDT  PID = 0x0014
	PIDPSIP PID = 0x1ffb
	PIDNull PID = 0x1fff
)

// NumPIDs is the size of a table indexed by PID.
const NumPIDs = 1 << 13

// Packet is one transport packet. Convert without copying: (*Packet)(b[:PacketSize]).
type Packet [PacketSize]byte

// PID is the packet identifier.
func (p *Packet) PID() PID { return PID(p[1]&0x1f)<<8 | PID(p[2]) } // H.222.0 §2.4.3.2

// UnitStart is payload_unit_start_indicator.
func (p *Packet) UnitStart() bool { return p[1]&0x40 != 0 }

// TransportError is transport_error_indicator: the demodulator could not correct this packet, nothing in it can be trusted.
func (p *Packet) TransportError() bool { return p[1]&0x80 != 0 }

// Scrambling is transport_scrambling_control.
func (p *Packet) Scrambling() uint8 { return p[3] >> 6 }

// Scrambled tells whether the payload is scrambled.
func (p *Packet) Scrambled() bool { return p[3]&0xc0 != 0 }

// Continuity is continuity_counter.
func (p *Packet) Continuity() uint8 { return p[3] & 0x0f }

// HasPayload is the low bit of adaptation_field_control.
func (p *Packet) HasPayload() bool { return p[3]&0x10 != 0 }

// HasAdaptation is the high bit of adaptation_field_control.
func (p *Packet) HasAdaptation() bool { return p[3]&0x20 != 0 }

// Payload is what follows the header and the adaptation field; nil when there is none or the
// adaptation field claims more than the packet holds.
func (p *Packet) Payload() []byte {
	switch p[3] & 0x30 {
	case 0x10:
		return p[4:]
	case 0x30:
		if n := 5 + int(p[4]); n < PacketSize {
			return p[n:]
		}
	}
	return nil
}

// flags is the adaptation field's flag byte, 0 when there is none.
func (p *Packet) flags() byte {
	if p[3]&0x20 == 0 || p[4] == 0 || p[4] > PacketSize-5 { // H.222.0 §2.4.3.4
		return 0
	}
	return p[5]
}

// Discontinuity is discontinuity_indicator.
func (p *Packet) Discontinuity() bool { return p.flags()&0x80 != 0 }

// RandomAccess is random_access_indicator.
func (p *Packet) RandomAccess() bool { return p.flags()&0x40 != 0 }

// HasPCR is PCR_flag.
func (p *Packet) HasPCR() bool { return p.flags()&0x10 != 0 }

// PCR is the program clock reference in 27 MHz ticks, 0 … 2^33·300−1.
func (p *Packet) PCR() (pcr uint64, ok bool) {
	if p.flags()&0x10 == 0 || p[4] < 7 {
		return 0, false
	}
	base := uint64(p[6])<<25 | uint64(p[7])<<17 | uint64(p[8])<<9 | uint64(p[9])<<1 | uint64(p[10])>>7 // H.222.0 §2.4.3.5
	ext := uint64(p[10]&1)<<8 | uint64(p[11])
	if ext >= 300 {
		return 0, false // an extension is 0 … 299; more is no clock
	}
	return base*300 + ext, true
}

// TakePCR removes the PCR from the adaptation field: what follows moves up, and stuffing takes the room. It reports whether there was one.
func (p *Packet) TakePCR() bool {
	if p.flags()&0x10 == 0 || p[4] < 7 {
		return false
	}
	end := 5 + int(p[4])
	copy(p[6:end], p[12:end])
	for i := end - 6; i < end; i++ {
		p[i] = 0xff // H.222.0 §2.4.3.4
	}
	p[5] &^= 0x10
	return true
}
