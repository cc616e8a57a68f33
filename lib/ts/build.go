package ts

// Header is what Fill writes in front of a payload.
type Header struct {
	PID           PID
	UnitStart     bool
	Continuity    uint8 // 0 … 15
	Scrambling    uint8 // transport_scrambling_control, 0 … 3
	Discontinuity bool  // discontinuity_indicator
	RandomAccess  bool  // random_access_indicator
	HasPCR        bool
	PCR           uint64 // 27 MHz, written modulo 2^33·300
}

// Fill makes p a whole packet: the header, an adaptation field where h or a short payload needs one, and
// as much of payload as fits. It returns how much that was. With no payload the packet holds an
// adaptation field only, and its continuity counter is by H.222.0 §2.4.3.3 that of the packet before.
func (p *Packet) Fill(h *Header, payload []byte) int {
	p.SetHeader(h.PID, h.UnitStart, h.Continuity)
	p[3] |= h.Scrambling << 6
	need := 0 // bytes of the adaptation field after its length
	if h.Discontinuity || h.RandomAccess || h.HasPCR {
		need = 1
	}
	if h.HasPCR {
		need = 7
	}
	room := PacketSize - 4
	if need > 0 {
		room -= 1 + need
	}
	n := min(len(payload), room)
	length := PacketSize - 4 - n - 1 // adaptation_field_length when the field is there
	if length < 0 {
		copy(p[4:], payload[:n])
		return n
	}
	p[3] |= 0x20
	if n == 0 {
		p[3] &^= 0x10
	}
	p[4] = byte(length)
	if length > 0 {
		p[5] = 0
		if h.Discontinuity {
			p[5] |= 0x80
		}
		if h.RandomAccess {
			p[5] |= 0x40
		}
		at := 6
		if h.HasPCR {
			p[5] |= 0x10
			p.putPCR(h.PCR)
			at = 12
		}
		for i := at; i < 5+length; i++ {
			p[i] = 0xff
		}
	}
	copy(p[5+length:], payload[:n])
	return n
}

// SetHeader writes the four header bytes of an unscrambled packet that holds payload only.
func (p *Packet) SetHeader(pid PID, unitStart bool, cc uint8) {
	p[0] = SyncByte
	p[1] = byte(pid>>8) & 0x1f
	if unitStart {
		p[1] |= 0x40
	}
	p[2] = byte(pid)
	p[3] = 0x10 | cc&0x0f
}

// SetPID changes the PID and nothing else.
func (p *Packet) SetPID(pid PID) {
	p[1] = p[1]&0xe0 | byte(pid>>8)&0x1f
	p[2] = byte(pid)
}

// SetContinuity changes the continuity counter and nothing else.
func (p *Packet) SetContinuity(cc uint8) { p[3] = p[3]&0xf0 | cc&0x0f }

// SetTransportError sets or clears transport_error_indicator.
func (p *Packet) SetTransportError(on bool) {
	p[1] &^= 0x80
	if on {
		p[1] |= 0x80
	}
}

// SetPCR rewrites the PCR of a packet that has one; it tells whether it did.
func (p *Packet) SetPCR(pcr uint64) bool {
	if p.flags()&0x10 == 0 || p[4] < 7 {
		return false
	}
	p.putPCR(pcr)
	return true
}

// SetNull makes p a null packet.
func (p *Packet) SetNull() {
	p.SetHeader(PIDNull, false, 0)
	for i := 4; i < PacketSize; i++ {
		p[i] = 0xff
	}
}

func (p *Packet) putPCR(pcr uint64) {
	pcr %= PCRWrap
	base, ext := pcr/300, pcr%300
	p[6] = byte(base >> 25)
	p[7] = byte(base >> 17)
	p[8] = byte(base >> 9)
	p[9] = byte(base >> 1)
	p[10] = byte(base<<7) | 0x7e | byte(ext>>8)
	p[11] = byte(ext)
}
