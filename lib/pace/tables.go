package pace

import (
	"encoding/binary"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// timeEvery is how often TDT and TOT are sent: TS 101 211 §4.4 asks for 30 s, and a receiver that was just switched on waits for them.
const timeEvery = 10 * clock.SystemHz

const (
	scheduleFirst = 0x50 // table_id of an EIT schedule of this transport stream (EN 300 468 table 2)
	scheduleLast  = 0x5f
)

// every is how often a section is sent, 0: not at all, because it says nothing of this service.
func (c *Carousel) every(pid ts.PID, section []byte) clock.Ticks27 {
	const s, ms = clock.SystemHz, clock.SystemMillisecond
	switch id := section[0]; {
	case pid == ts.PIDNIT && id == psi.TableNIT:
		return 5 * s
	case pid == ts.PIDSDT && id == psi.TableSDT:
		return 1 * s
	case pid == ts.PIDEIT && id == psi.TableDVBEIT:
		return 1 * s
	case pid == ts.PIDEIT && id >= scheduleFirst && id <= scheduleLast:
		return 10 * s
	case pid == ts.PIDTDT && id == psi.TableTOT:
		return timeEvery
	case id == psi.TableMGT: // A/65 table 7.1 and §7.3
		c.readGuide(section)
		return 140 * ms
	case id == psi.TableTVCT || id == psi.TableCVCT:
		return 390 * ms
	case id == psi.TableSTT:
		return 1 * s
	case id == psi.TableRRT:
		return 50 * s
	case id == psi.TableEIT && c.guide[pid] == 0x100:
		return 490 * ms
	case id == psi.TableEIT && c.guide[pid] == 0x101:
		return 2900 * ms
	case id == psi.TableEIT || id == psi.TableETT:
		return 50 * s
	}
	return 0
}

// readGuide notes on which PIDs the guide is.
func (c *Carousel) readGuide(section []byte) {
	mgt, err := psi.ParseMGT(section)
	if err != nil {
		return
	}
	for _, t := range mgt.Tables {
		c.guide[t.PID] = t.Type
	}
}

// ours is what a section says of this service, nil if that is nothing. A television would list the other services and not find them.
func (c *Carousel) ours(section []byte) []byte {
	switch id := section[0]; {
	case id == psi.TableSDT:
		sdt, err := psi.ParseSDT(section)
		s, ok := sdt.Of(c.program)
		if err != nil || !ok {
			return nil
		}
		sdt.Services, sdt.Number, sdt.LastNumber = []psi.Service{s}, 0, 0
		return sdt.Append(nil)
	case id == psi.TableTVCT || id == psi.TableCVCT:
		vct, err := psi.ParseVCT(section)
		ch, ok := vct.Of(c.program)
		if err != nil || !ok {
			return nil
		}
		c.source = ch.SourceID
		vct.Channels, vct.Number, vct.LastNumber = []psi.VirtualChannel{ch}, 0, 0
		return vct.Append(nil)
	case id == psi.TableDVBEIT || id >= scheduleFirst && id <= scheduleLast:
		if h, err := psi.ParseHeader(section); err != nil || h.Extension != c.program {
			return nil
		}
	case id == psi.TableEIT:
		if h, err := psi.ParseHeader(section); err != nil || c.source != 0 && h.Extension != c.source {
			return nil
		}
	case id == psi.TableETT:
		ett, err := psi.ParseETT(section)
		if err != nil || c.source != 0 && uint16(ett.ETMID>>16) != c.source {
			return nil
		}
	}
	return section
}

// timed tells whether a table says the time.
func timed(id uint8) bool { return id == psi.TableTDT || id == psi.TableTOT || id == psi.TableSTT }

// keyOf is what a section takes the place of.
func keyOf(pid ts.PID, section []byte) tableKey {
	k := tableKey{tableID: tableID{pid, section[0]}}
	h, err := psi.ParseHeader(section)
	if err != nil || timed(section[0]) {
		return k
	}
	k.extension, k.number = h.Extension, h.Number
	switch {
	case pid == ts.PIDEIT && len(section) >= 12:
		k.net = binary.BigEndian.Uint32(section[8:])
	case section[0] == psi.TableETT && len(section) >= 13:
		k.net = binary.BigEndian.Uint32(section[9:])
	}
	return k
}
