package psi

import (
	"bytes"
	"testing"

	"every.channel/ec/lib/ts"
)

// assemble feeds packets and returns copies of the sections.
func assemble(a *Assembler, packets []byte) (sections [][]byte) {
	for ; len(packets) >= ts.PacketSize; packets = packets[ts.PacketSize:] {
		a.Feed((*ts.Packet)(packets), func(s []byte) { sections = append(sections, bytes.Clone(s)) })
	}
	return sections
}

// long makes a verified section of about n bytes.
func long(n int, version uint8) []byte {
	return PMT{Program: 1, Version: version, Descriptors: bytes.Repeat([]byte{0x80, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}, n/20)}.Append(nil)
}

// packed puts sections back to back into packets, as H.222.0 §2.4.4.1 allows.
func packed(sections ...[]byte) []byte {
	var all []byte
	starts := map[int]bool{}
	for _, s := range sections {
		starts[len(all)] = true
		all = append(all, s...)
	}
	var out []byte
	cc := uint8(0)
	for at := 0; at < len(all); {
		first := -1
		for i := at; i < min(at+183, len(all)); i++ {
			if starts[i] {
				first = i - at
				break
			}
		}
		var p ts.Packet
		p.SetHeader(0x30, first >= 0, cc)
		cc++
		body := p[4:]
		if first >= 0 {
			body[0] = byte(first)
			body = body[1:]
		}
		n := copy(body, all[at:])
		for i := n; i < len(body); i++ {
			body[i] = 0xff
		}
		at += n
		out = append(out, p[:]...)
	}
	return out
}

func TestAssembler(t *testing.T) {
	small, big, huge := long(0, 1), long(400, 2), long(980, 3)
	for name, want := range map[string][][]byte{
		"one in a packet":       {small},
		"over three packets":    {big},
		"many, back to back":    {small, big, small, huge, small, small, big},
		"ends with a packet":    {long(160, 4), small},
		"header across packets": {long(160, 5), long(0, 6), long(0, 7)},
	} {
		var a Assembler
		got := assemble(&a, packed(want...))
		if len(got) != len(want) {
			t.Errorf("%s: %d sections, want %d", name, len(got), len(want))
			continue
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("%s: section %d differs", name, i)
			}
		}
		if a.CRCErrors() != 0 || a.Aborted() != 0 {
			t.Errorf("%s: %d checksum errors, %d aborted", name, a.CRCErrors(), a.Aborted())
		}
	}
	// Every length of the first section, so that the second starts at every place of a packet.
	for n := range 200 {
		first := DVBEIT{TableID: 0x4e, Events: []DVBEvent{{Descriptors: AppendDescriptor(nil, 0x80, make([]byte, n))}}}.Append(nil)
		var a Assembler
		if got := assemble(&a, packed(first, small, big)); len(got) != 3 || !bytes.Equal(got[0], first) || !bytes.Equal(got[2], big) {
			t.Fatalf("after a section of %d bytes: %d sections", len(first), len(got))
		}
	}
}

func TestAppendPackets(t *testing.T) {
	cc := uint8(14)
	var out []byte
	for _, s := range [][]byte{long(0, 1), long(400, 2), long(980, 3)} {
		out = AppendPackets(out, 0x1ffb, &cc, s)
	}
	var k ts.Continuity
	for b := out; len(b) > 0; b = b[ts.PacketSize:] {
		p := (*ts.Packet)(b)
		if p[0] != ts.SyncByte || p.PID() != 0x1ffb || k.Check(p) != ts.Ok {
			t.Fatalf("% x", p[:8])
		}
	}
	var a Assembler
	if got := assemble(&a, out); len(got) != 3 {
		t.Errorf("%d sections, want 3", len(got))
	}
}

func TestAssemblerDamage(t *testing.T) {
	big, small := long(400, 2), long(0, 1)
	at := func(b []byte, i int) *ts.Packet { return (*ts.Packet)(b[i*ts.PacketSize:]) }
	cut := func(b []byte, i int) []byte {
		return append(bytes.Clone(b[:i*ts.PacketSize]), b[(i+1)*ts.PacketSize:]...)
	}
	in := func() []byte { return packed(big, small, big) }
	for _, c := range []struct {
		name     string
		in       func() []byte
		sections int
		crc      int
		aborted  int
	}{
		{"nothing", in, 3, 0, 0},
		{"the first packet is lost", func() []byte { return cut(in(), 0) }, 2, 0, 0},
		{"a middle packet is lost", func() []byte { return cut(in(), 1) }, 2, 0, 1},
		{"a bit is flipped", func() []byte { b := in(); at(b, 1)[90] ^= 1; return b }, 2, 1, 0},
		{"a packet has an error", func() []byte { b := in(); at(b, 1).SetTransportError(true); return b }, 2, 0, 1},
		{"a packet is scrambled", func() []byte { b := in(); at(b, 1)[3] |= 0x80; return b }, 2, 0, 1},
		{"a packet is doubled", func() []byte {
			b := in()
			return append(bytes.Clone(b[:2*ts.PacketSize]), b[ts.PacketSize:]...)
		}, 3, 0, 0},
		{"pointer_field beyond the packet", func() []byte { b := in(); at(b, 2)[4] = 200; return b }, 0, 0, 1},
		{"section_length beyond the limit", func() []byte { b := in(); at(b, 0)[6] = 0xff; at(b, 0)[7] = 0xff; return b }, 2, 0, 1},
		{"all is stuffing", func() []byte {
			var p ts.Packet
			p.SetNull()
			p.SetHeader(0x30, true, 0)
			p[4] = 0
			return append(p[:], p[:]...)
		}, 0, 0, 0},
		{"the counter never moves", func() []byte {
			p := packed(small)
			return append(append(bytes.Clone(p), p...), p...)
		}, 3, 0, 0},
	} {
		var a Assembler
		got := assemble(&a, c.in())
		if len(got) != c.sections || a.CRCErrors() != c.crc || a.Aborted() != c.aborted {
			t.Errorf("%s: %d sections, %d checksum errors, %d aborted; want %d %d %d", c.name, len(got), a.CRCErrors(), a.Aborted(), c.sections, c.crc, c.aborted)
		}
		for _, s := range got {
			if !bytes.Equal(s, big) && !bytes.Equal(s, small) {
				t.Errorf("%s: a section is handed on that was never sent", c.name)
			}
		}
	}
}

func TestVersions(t *testing.T) {
	var v Versions
	pat := PAT{TSID: 1, Programs: []Program{{1, 0x30}}}
	for i, c := range []struct {
		name    string
		section []byte
		want    bool
	}{
		{"first", pat.Append(nil), true},
		{"repeated", pat.Append(nil), false},
		{"next version", PAT{TSID: 1, Version: 1}.Append(nil), true},
		{"another section of it", PAT{TSID: 1, Version: 1, Number: 1, LastNumber: 1}.Append(nil), true},
		{"repeated", PAT{TSID: 1, Version: 1}.Append(nil), false},
		{"SDT of one network", SDT{Other: true, TSID: 5, ONID: 1}.Append(nil), true},
		{"SDT of another", SDT{Other: true, TSID: 5, ONID: 2}.Append(nil), true},
		{"SDT of the one again", SDT{Other: true, TSID: 5, ONID: 1}.Append(nil), false},
		{"text of one event", ETT{ETMID: 6}.Append(nil), true},
		{"text of another", ETT{ETMID: 10}.Append(nil), true},
		{"text of the one again", ETT{ETMID: 6}.Append(nil), false},
		{"name A", SDT{TSID: 1, Services: []Service{{ID: 3, Descriptors: ServiceDescriptor(1, "", "A")}}}.Append(nil), true},
		{"name B, version unchanged", SDT{TSID: 1, Services: []Service{{ID: 3, Descriptors: ServiceDescriptor(1, "", "B")}}}.Append(nil), true},
		{"name A again", SDT{TSID: 1, Services: []Service{{ID: 3, Descriptors: ServiceDescriptor(1, "", "A")}}}.Append(nil), true},
		{"name A repeated", SDT{TSID: 1, Services: []Service{{ID: 3, Descriptors: ServiceDescriptor(1, "", "A")}}}.Append(nil), false},
		{"a name to come, beside it", SDT{TSID: 1, Version: 1, Next: true}.Append(nil), true},
		{"name A, beside that", SDT{TSID: 1, Services: []Service{{ID: 3, Descriptors: ServiceDescriptor(1, "", "A")}}}.Append(nil), false},
		{"the name to come, repeated", SDT{TSID: 1, Version: 1, Next: true}.Append(nil), false},
		{"time", TDT{day}.Append(nil), true},
		{"the same time", TDT{day}.Append(nil), false},
		{"later", TDT{day.Add(1e9)}.Append(nil), true},
		{"time with offsets, whose checksum is beside a short header", TOT{UTC: day}.Append(nil), true},
		{"the same", TOT{UTC: day}.Append(nil), false},
		{"later", TOT{UTC: day.Add(1e9)}.Append(nil), true},
	} {
		if got := v.New(0, c.section); got != c.want {
			t.Errorf("%d, %s: %v, want %v", i, c.name, got, c.want)
		}
	}
	if !v.New(1, pat.Append(nil)) {
		t.Error("the same section on another PID is not new")
	}
}

func FuzzAssembler(f *testing.F) {
	f.Add(packed(long(0, 1), long(400, 2)))
	f.Add(packed(TDT{day}.Append(nil), TOT{UTC: day}.Append(nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a Assembler
		var v Versions
		for ; len(b) >= ts.PacketSize; b = b[ts.PacketSize:] {
			a.Feed((*ts.Packet)(b), func(s []byte) {
				if err := Check(s); err != nil {
					t.Fatal(err)
				}
				v.New(0, s)
			})
		}
	})
}

// FuzzTables gives every parser every section, and what it takes must survive writing and reading.
func FuzzTables(f *testing.F) {
	for _, s := range samples {
		f.Add(s.table.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range samples {
			x, err := s.parse(b)
			if err != nil {
				continue
			}
			out := x.(table).Append(nil)
			if len(out) > maxSection {
				continue // texts are written uncompressed and may outgrow a section
			}
			if _, err := s.parse(out); err != nil {
				t.Fatalf("%s: % x is written as % x: %v", s.name, b, out, err)
			}
			switch x := x.(type) {
			case SDT:
				for _, s := range x.Services {
					s.Name()
				}
			case DVBEIT:
				for _, e := range x.Events {
					e.Short()
				}
			case TOT:
				x.LocalTimeOffsets()
			case PMT:
				for _, s := range x.Streams {
					s.Codec()
				}
			}
		}
		TableUTC(b)
	})
}
