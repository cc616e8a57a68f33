package sim

import (
	"encoding/binary"

	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// A rewriter makes the sections of a PID anew, with continuity counters of its own, as devices do that
// cut one program out of a multiplex.
type rewriter struct {
	assemble psi.Assembler
	cc       uint8
	section  []byte
	packets  []byte
}

// rewrite takes a packet and sends those of the sections that end in it, changed.
func (r *rewriter) rewrite(q *ts.Packet, change func(section []byte) []byte, send func(*ts.Packet)) {
	r.assemble.Feed(q, func(section []byte) {
		r.section = change(append(r.section[:0], section...))
		r.packets = psi.AppendPackets(r.packets[:0], q.PID(), &r.cc, r.section)
		for b := r.packets; len(b) >= ts.PacketSize; b = b[ts.PacketSize:] {
			send((*ts.Packet)(b))
		}
	})
}

// newVersion raises version_number in place.
func newVersion(b []byte) []byte {
	if !psi.Long(b) || psi.Check(b) != nil {
		return b
	}
	b[5] = b[5]&^0x3e | (b[5]+2)&0x3e // H.222.0 §2.4.4.11
	n := 3 + int(b[1]&0x0f)<<8 + int(b[2]) - 4
	binary.BigEndian.PutUint32(b[n:], psi.CRC32(b[:n]))
	return b
}

// remakePAT raises the version of a PAT, leaves out the network PID and changes the transport stream id
// unless tsid is 0.
func remakePAT(b []byte, tsid int) []byte {
	t, err := psi.ParsePAT(b)
	if err != nil {
		return b
	}
	if tsid != 0 {
		t.TSID = uint16(tsid)
	}
	t.Version = (t.Version + 1) & 0x1f
	t.NIT = 0
	return t.Append(b[:0])
}
