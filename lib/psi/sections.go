package psi

import "bytes"

// Sections collects the sections of one table.
type Sections struct {
	parts   [][]byte
	version int
	whole   [][]byte
}

// Add takes a section; whole: all are there; changed: they are not what they were when they were whole last.
func (t *Sections) Add(section []byte) (whole, changed bool) {
	h, err := ParseHeader(section)
	if err != nil || h.Next || h.Number > h.LastNumber {
		return false, false
	}
	if len(t.parts) != int(h.LastNumber)+1 || t.version != int(h.Version) {
		t.parts, t.version = make([][]byte, int(h.LastNumber)+1), int(h.Version)
	}
	t.parts[h.Number] = append(t.parts[h.Number][:0], section...)
	for _, p := range t.parts {
		if len(p) == 0 {
			return false, false
		}
	}
	changed = len(t.whole) != len(t.parts)
	for i := range t.parts {
		changed = changed || !bytes.Equal(t.parts[i], t.whole[i])
	}
	if changed {
		t.whole = nil
		for _, p := range t.parts {
			t.whole = append(t.whole, bytes.Clone(p))
		}
	}
	return true, changed
}

// All are the sections, in order.
func (t *Sections) All() [][]byte { return t.whole }
