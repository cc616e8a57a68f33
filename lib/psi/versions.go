package psi

import "encoding/binary"

// maxVersions bounds what Versions remembers; a whole network's guide fits.
const maxVersions = 1 << 16

// Versions tells sections that carry something new from repetitions. The zero value is ready.
type Versions struct {
	seen map[sectionKey]uint32
}

type sectionKey struct {
	pid       uint16
	table     uint8
	number    uint8
	next      bool // not yet applicable: sent beside what applies
	extension uint16
	net       uint32 // TSID and ONID where the extension alone is ambiguous
}

// New tells whether section, on pid, differs from the one with the same identity that was heard last: what comes back
// after something else is new again. Time tables always are.
func (v *Versions) New(pid uint16, section []byte) bool {
	if len(section) < 3 {
		return false
	}
	k := sectionKey{pid: pid, table: section[0]}
	if Long(section) && len(section) >= headerLen+crcLen {
		k.extension, k.number, k.next = uint16At(section, 3), section[6], section[5]&1 == 0
		if t := section[0]; t >= TableDVBEIT && t <= 0x6f && len(section) >= 12 {
			k.net = binary.BigEndian.Uint32(section[8:])
		} else if (t == TableSDT || t == TableSDTOther) && len(section) >= 10 {
			k.net = uint32(uint16At(section, 8))
		} else if t == TableETT && len(section) >= 13 {
			k.net = binary.BigEndian.Uint32(section[9:]) // ETM_id
		}
	}
	var crc uint32
	if len(section) >= 4 && (Long(section) || section[0] == TableTOT) {
		crc = binary.BigEndian.Uint32(section[len(section)-4:]) // its own
	} else {
		crc = CRC32(section) ^ uint32(len(section))
	}
	if old, ok := v.seen[k]; ok && old == crc {
		return false
	}
	if v.seen == nil || len(v.seen) >= maxVersions {
		v.seen = make(map[sectionKey]uint32)
	}
	v.seen[k] = crc
	return true
}
