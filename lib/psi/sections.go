package psi

import "bytes"

// Sections puts the sections of one table together, as H.222.0 §2.4.4.3 divides a PAT: sections numbered from
// section_number 0 to last_section_number, of one version_number. The zero value is ready.
type Sections struct {
	heard round // of the round under way
	whole round // the last whole one
}

// round holds sections by section_number.
type round struct {
	sections [][]byte // an empty one was not heard
	have     int      // sections heard
}

// Add takes the next section of the table; all belong to one table_id on one PID. It ignores sections that are not yet
// applicable (current_next_indicator 0) or malformed, and a table with another table_id_extension takes the place of
// the one before.
//
// A table is whole when all of its sections have been heard since it was whole the last time, in any order. A section
// that contradicts those before it, by its version or by other bytes under its number, starts anew. A whole table is
// changed if it says something else than the last whole one. Its version_number does not count for that: a device that
// makes tables anew may count versions its own way.
func (s *Sections) Add(section []byte) (whole, changed bool) {
	h, err := ParseHeader(section)
	if err != nil || h.Next || h.Number > h.LastNumber {
		return false, false
	}
	if n := int(h.LastNumber) + 1; !s.heard.agrees(section, n) {
		s.heard.reset(n)
	}
	if !s.heard.add(section, h.Number) {
		return false, false
	}
	changed = !s.heard.same(&s.whole)
	s.heard, s.whole = s.whole, s.heard
	s.heard.reset(len(s.whole.sections))
	return true, changed
}

// All are the sections of the last whole table in order, none if there was no whole one. They are valid until the next
// Add.
func (s *Sections) All() [][]byte { return s.whole.sections }

// agrees tells whether section, one of n, may be of the same table as those that were heard.
func (t *round) agrees(section []byte, n int) bool {
	if t.have == 0 {
		return len(t.sections) == n
	}
	if len(t.sections) != n {
		return false
	}
	for number, other := range t.sections {
		switch {
		case len(other) == 0:
		case !bytes.Equal(other[:1], section[:1]), !bytes.Equal(other[3:6], section[3:6]): // table_id_extension, version
			return false
		case number == int(section[6]) && !bytes.Equal(other, section):
			return false
		}
	}
	return true
}

func (t *round) reset(n int) {
	for len(t.sections) < n {
		t.sections = append(t.sections, nil)
	}
	t.sections, t.have = t.sections[:n], 0
	for i := range t.sections {
		t.sections[i] = t.sections[i][:0]
	}
}

// add takes a section and tells whether the table is whole.
func (t *round) add(section []byte, number uint8) bool {
	if len(t.sections[number]) == 0 {
		t.have++
	}
	t.sections[number] = append(t.sections[number][:0], section...)
	return t.have == len(t.sections)
}

// same compares tables by what they say: without section_length, version_number and CRC_32.
func (t *round) same(o *round) bool {
	if len(t.sections) != len(o.sections) || o.have != len(o.sections) {
		return false
	}
	const version = 5 // version_number shares a byte with current_next_indicator
	for i, a := range t.sections {
		b := o.sections[i]
		if len(a) != len(b) || !bytes.Equal(a[:version], b[:version]) || !bytes.Equal(a[version+1:len(a)-crcLen], b[version+1:len(b)-crcLen]) {
			return false
		}
	}
	return true
}
