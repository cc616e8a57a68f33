package psi

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// patPart is section number of last+1 of a PAT that lists programs.
func patPart(version, number, last uint8, programs ...uint16) []byte {
	t := PAT{TSID: 7, Version: version, Number: number, LastNumber: last}
	for _, p := range programs {
		t.Programs = append(t.Programs, Program{p, 0x30})
	}
	return t.Append(nil)
}

// listed are the programs in the last whole table.
func listed(s *Sections) string {
	var all []string
	for _, b := range s.All() {
		t, err := ParsePAT(b)
		if err != nil {
			return err.Error()
		}
		for _, p := range t.Programs {
			all = append(all, fmt.Sprint(p.Number))
		}
	}
	return strings.Join(all, " ")
}

func TestSections(t *testing.T) {
	other := PAT{TSID: 8, Programs: []Program{{9, 0x30}}}.Append(nil)
	next := PAT{TSID: 7, Version: 1, Next: true, Programs: []Program{{9, 0x30}}}.Append(nil)
	type step struct {
		section []byte
		want    string // "whole", "changed" (and whole), or nothing
		listed  string // then
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"one section", []step{{patPart(0, 0, 0, 3), "changed", "3"}, {patPart(0, 0, 0, 3), "whole", "3"}, {patPart(1, 0, 0, 4), "changed", "4"}}},
		{"two sections", []step{
			{patPart(0, 0, 1, 7), "", ""}, {patPart(0, 1, 1, 3), "changed", "7 3"},
			{patPart(0, 0, 1, 7), "", "7 3"}, {patPart(0, 1, 1, 3), "whole", "7 3"}}},
		{"joined in the middle", []step{{patPart(0, 1, 1, 3), "", ""}, {patPart(0, 0, 1, 7), "changed", "7 3"}, {patPart(0, 1, 1, 3), "", "7 3"}, {patPart(0, 0, 1, 7), "whole", "7 3"}}},
		{"a section is lost", []step{{patPart(0, 0, 2, 1), "", ""}, {patPart(0, 2, 2, 3), "", ""}, {patPart(0, 0, 2, 1), "", ""}, {patPart(0, 1, 2, 2), "changed", "1 2 3"}}},
		{"a section comes twice", []step{{patPart(0, 0, 1, 1), "", ""}, {patPart(0, 0, 1, 1), "", ""}, {patPart(0, 1, 1, 2), "changed", "1 2"}}},
		{"the version changes in the middle", []step{
			{patPart(0, 0, 1, 1), "", ""}, {patPart(0, 1, 1, 2), "changed", "1 2"},
			{patPart(0, 0, 1, 1), "", "1 2"}, {patPart(1, 1, 1, 4), "", "1 2"}, {patPart(1, 0, 1, 3), "changed", "3 4"}}},
		{"A, B, A with versions", []step{{patPart(0, 0, 0, 1), "changed", "1"}, {patPart(1, 0, 0, 2), "changed", "2"}, {patPart(2, 0, 0, 1), "changed", "1"}}},
		{"A, B, A of one version", []step{{patPart(0, 0, 0, 1), "changed", "1"}, {patPart(0, 0, 0, 2), "changed", "2"}, {patPart(0, 0, 0, 1), "changed", "1"}}},
		{"A, B, A of one version in two sections", []step{
			{patPart(0, 0, 1, 1), "", ""}, {patPart(0, 1, 1, 2), "changed", "1 2"}, {patPart(0, 0, 1, 1), "", "1 2"},
			{patPart(0, 0, 1, 5), "", "1 2"}, {patPart(0, 1, 1, 6), "changed", "5 6"},
			{patPart(0, 0, 1, 1), "", "5 6"}, {patPart(0, 1, 1, 2), "changed", "1 2"}}},
		{"a device that counts versions each time", []step{{patPart(0, 0, 0, 1), "changed", "1"}, {patPart(1, 0, 0, 1), "whole", "1"}, {patPart(2, 0, 0, 1), "whole", "1"}}},
		{"so in two sections", []step{
			{patPart(0, 0, 1, 1), "", ""}, {patPart(0, 1, 1, 2), "changed", "1 2"}, {patPart(1, 0, 1, 1), "", "1 2"}, {patPart(1, 1, 1, 2), "whole", "1 2"}}},
		{"more sections, and fewer", []step{
			{patPart(0, 0, 0, 1), "changed", "1"}, {patPart(1, 0, 2, 1), "", "1"}, {patPart(1, 1, 2, 2), "", "1"}, {patPart(1, 2, 2, 3), "changed", "1 2 3"},
			{patPart(2, 0, 0, 1), "changed", "1"}}},
		{"not yet applicable", []step{{next, "", ""}, {patPart(0, 0, 1, 1), "", ""}, {next, "", ""}, {patPart(0, 1, 1, 2), "changed", "1 2"}}},
		{"another transport stream", []step{{patPart(0, 0, 1, 1), "", ""}, {other, "changed", "9"}, {patPart(0, 1, 1, 2), "", "9"}, {patPart(0, 0, 1, 1), "changed", "1 2"}}},
		{"malformed", []step{{patPart(0, 2, 1, 1), "", ""}, {nil, "", ""}, {[]byte{0, 0xb0, 9}, "", ""}, {TDT{day}.Append(nil), "", ""}, {patPart(0, 0, 0, 1), "changed", "1"}}},
	} {
		var s Sections
		for i, st := range c.steps {
			got := ""
			switch whole, changed := s.Add(st.section); {
			case whole && changed:
				got = "changed"
			case whole:
				got = "whole"
			case changed:
				got = "changed but not whole"
			}
			if got != st.want || listed(&s) != st.listed {
				t.Errorf("%s, step %d: %q with programs %q, want %q with %q", c.name, i, got, listed(&s), st.want, st.listed)
			}
		}
	}
}

func TestSectionsAllocateNothing(t *testing.T) {
	var s Sections
	a, b := patPart(0, 0, 1, 1), patPart(0, 1, 1, 2)
	s.Add(a)
	s.Add(b)
	s.Add(a)
	s.Add(b)
	if n := testing.AllocsPerRun(100, func() { s.Add(a); s.Add(b) }); n != 0 {
		t.Errorf("%v allocations for a repeated table", n)
	}
}

func FuzzSections(f *testing.F) {
	f.Add(bytes.Join([][]byte{patPart(0, 0, 1, 7), patPart(0, 1, 1, 3), patPart(0, 0, 1, 7), patPart(1, 0, 0, 7)}, nil))
	f.Add(patPart(3, 255, 255, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Sections
		for len(b) >= 3 {
			n := min(len(b), 3+int(b[1]&0x0f)<<8+int(b[2]))
			whole, changed := s.Add(b[:n])
			if changed && !whole {
				t.Fatal("changed, but not whole")
			}
			if whole {
				for i, section := range s.All() {
					h, err := ParseHeader(section)
					if err != nil || int(h.Number) != i || int(h.LastNumber) != len(s.All())-1 || h.Next {
						t.Fatalf("section %d of %d: %+v, %v", i, len(s.All()), h, err)
					}
				}
			}
			b = b[n:]
		}
	})
}
