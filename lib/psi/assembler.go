package psi

import "every.channel/ec/lib/ts"

// Assembler puts the sections of one PID together. The zero value is ready.
type Assembler struct {
	buf       []byte // of the section under way, nil-length when none
	open      bool   // a section is under way
	cc        uint8
	started   bool
	crcErrors int
	aborted   int
}

// Feed takes the next packet of the PID and calls emit for every whole section it completes. The slice
// is valid during the call only. Sections whose checksum does not verify are counted and dropped; a gap
// in continuity, a TEI or a scrambled packet drops the section under way.
func (a *Assembler) Feed(p *ts.Packet, emit func(section []byte)) {
	if p.TransportError() || p.Scrambled() {
		a.drop()
		return
	}
	payload := p.Payload()
	if payload == nil {
		if p.Discontinuity() {
			a.drop()
			a.started = false
		}
		return
	}
	cc := p.Continuity()
	if a.started && !p.Discontinuity() {
		switch {
		case cc == a.cc && !p.UnitStart():
			return // a duplicate, H.222.0 §2.4.3.3
		case cc == a.cc: // a duplicate, or a device that never counts; its sections start anew
			a.drop()
		case cc != (a.cc+1)&0x0f:
			a.drop()
		}
	}
	a.cc, a.started = cc, true
	if !p.UnitStart() {
		if a.open {
			a.take(payload, emit)
		}
		return
	}
	ptr := int(payload[0]) // H.222.0 §2.4.4.2
	payload = payload[1:]
	if ptr > len(payload) {
		a.drop()
		return
	}
	if a.open {
		a.take(payload[:ptr], emit)
		a.drop() // it should have ended where the next starts
	}
	a.open = true
	a.take(payload[ptr:], emit)
}

// take adds b to the section under way and goes on with those that follow in b.
func (a *Assembler) take(b []byte, emit func([]byte)) {
	for len(b) > 0 {
		if len(a.buf) == 0 && b[0] == 0xff { // stuffing to the end of the packet
			a.open = false
			return
		}
		if n := 3 - len(a.buf); n > 0 {
			n = min(n, len(b))
			a.buf = append(a.buf, b[:n]...)
			b = b[n:]
			if len(a.buf) < 3 {
				return
			}
		}
		total := 3 + int(a.buf[1]&0x0f)<<8 + int(a.buf[2])
		if total > maxSection {
			a.drop()
			return
		}
		n := min(total-len(a.buf), len(b))
		a.buf = append(a.buf, b[:n]...)
		b = b[n:]
		if len(a.buf) < total {
			return
		}
		switch Check(a.buf) {
		case nil:
			emit(a.buf)
		default:
			a.crcErrors++
		}
		a.buf = a.buf[:0]
	}
	// The packet ended exactly with a section; another may follow in the next only behind a pointer_field.
	a.open = len(a.buf) > 0
}

func (a *Assembler) drop() {
	if a.open && len(a.buf) > 0 {
		a.aborted++
	}
	a.open, a.buf = false, a.buf[:0]
}

// Reset forgets the section under way, as after a loss of sync.
func (a *Assembler) Reset() {
	a.drop()
	a.started = false
}

// CRCErrors is how many sections were dropped because their checksum or length was wrong.
func (a *Assembler) CRCErrors() int { return a.crcErrors }

// Aborted is how many sections were dropped because a part of them was lost.
func (a *Assembler) Aborted() int { return a.aborted }
