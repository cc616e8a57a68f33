package probe

import (
	"encoding/hex"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/es"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// table takes a packet of a PID with sections.
func (a *analyzer) table(p *ts.Packet, pid ts.PID, st *pidState, n int64) {
	if pid == ts.PIDPAT {
		now := a.base.at(n)
		if a.patHad && now-a.patAt > patLimit {
			a.p1.PAT++
		}
		a.patAt, a.patHad = now, true
	}
	s := st.sect
	s.Feed(p, func(section []byte) { a.section(pid, s, section, n) })
	if bad := s.CRCErrors(); bad > s.bad {
		a.p2.CRC += int64(bad - s.bad)
		s.bad = bad
	}
}

func (a *analyzer) section(pid ts.PID, s *sections, section []byte, n int64) {
	id := section[0]
	s.tables[id]++
	if id == s.due {
		now := a.base.at(n)
		if s.had && now-s.at > patLimit {
			if id == psi.TablePAT {
				a.p1.PAT2++
			} else {
				a.p1.PMT++
			}
		}
		s.at, s.had = now, true
	}
	switch {
	case pid == ts.PIDPAT && id != psi.TablePAT:
		a.p1.PAT++
		a.p1.PAT2++
		return
	case pid == ts.PIDCAT && id != psi.TableCAT:
		a.p2.CAT++
		return
	}
	fresh := a.versions.New(uint16(pid), section)
	if id == psi.TablePAT && fresh {
		a.association(section)
	}
	switch id {
	case psi.TableSTT, psi.TableTDT, psi.TableTOT:
		a.clock(pid, section, n)
		fresh = true
	case psi.TableCAT:
		a.cat = true
	case psi.TablePMT:
		a.programMap(section, pid, fresh)
	case psi.TableSDT:
		if fresh {
			a.services(section)
		}
	case psi.TableTVCT, psi.TableCVCT:
		if fresh {
			a.channels(section)
		}
	case psi.TableMGT:
		if fresh {
			a.guide(section)
		}
	}
	if fresh && a.cfg.Sections {
		printSection(a.out, a.cfg.JSON, sectionLine{PID: pid, Packet: n}, section, a.leap)
	}
}

// association takes a section of the PAT. What it lists counts at once; what is not in a whole PAT any more goes with
// that.
func (a *analyzer) association(section []byte) {
	t, err := psi.ParsePAT(section)
	if err != nil || t.Next {
		return
	}
	if _, changed := a.patSections.Add(section); changed {
		for _, p := range a.programs {
			p.listed = false
		}
		for _, s := range a.patSections.All() {
			if t, err := psi.ParsePAT(s); err == nil {
				a.listPrograms(t)
			}
		}
		return
	}
	a.listPrograms(t)
}

func (a *analyzer) listPrograms(t psi.PAT) {
	a.pat, a.tsid = true, t.TSID
	for _, e := range t.Programs {
		p := a.programs[e.Number]
		if p == nil {
			p = &program{number: e.Number}
			a.programs[e.Number] = p
		}
		if p.pid != e.PID {
			p.pid, p.pmt = e.PID, nil
		}
		p.listed = true
		a.follow(e.PID, psi.TablePMT)
	}
	if t.NIT != 0 {
		if a.pids[t.NIT].kind == kindUnknown {
			a.follow(t.NIT, 0xff)
		}
	}
}

// programMap takes a PMT, which says something new if fresh, or was heard before its program was known.
func (a *analyzer) programMap(section []byte, pid ts.PID, fresh bool) {
	h, err := psi.ParseHeader(section)
	if err != nil {
		return
	}
	p := a.programs[h.Extension]
	if p == nil || p.pid != pid || p.pmt != nil && !fresh {
		return // the PAT does not know it, or it is known
	}
	t, err := psi.ParsePMT(section)
	if err != nil || t.Next {
		return
	}
	if p.pmt != nil {
		p.changes++
	}
	p.pmt = &t
	for _, s := range t.Streams {
		st := &a.pids[s.PID]
		c := t.Codec(s)
		// What a PMT lists is no SI, wherever another standard has its tables.
		si := st.kind == kindPSI && st.sect.due == 0xff && s.PID >= ts.PIDNIT && !s.Type.Sections()
		if (st.kind == kindUnknown || si) && s.PID != ts.PIDNull {
			switch {
			case c == es.SCTE35:
				a.follow(s.PID, 0xff)
			case !s.Type.Sections():
				st.kind = kindPES
			}
		}
		st.timed = c.Video() || c.Audio()
		st.seenAt = a.base.elapsed
	}
	if a.cfg.JSON {
		a.out.put(struct {
			V    int    `json:"v"`
			Type string `json:"type"`
			Program
		}{1, "program", a.program(p, 0)})
	}
}

func (a *analyzer) services(section []byte) {
	t, err := psi.ParseSDT(section)
	if err != nil || t.Next {
		return
	}
	a.onid = int(t.ONID)
	for _, s := range t.Services {
		l := a.labels[s.ID]
		_, l.provider, l.name = s.Name()
		a.labels[s.ID] = l
	}
}

func (a *analyzer) channels(section []byte) {
	t, err := psi.ParseVCT(section)
	if err != nil {
		return
	}
	for _, entry := range t.Channels {
		c, ok := t.Of(entry.Program)
		if !ok {
			continue
		}
		l := a.labels[c.Program]
		l.name, l.channel = c.ShortName, c.Channel()
		a.labels[c.Program] = l
	}
}

func (a *analyzer) guide(section []byte) {
	t, err := psi.ParseMGT(section)
	if err != nil {
		return
	}
	for _, e := range t.Tables {
		if a.pids[e.PID].kind == kindUnknown && e.PID != ts.PIDNull {
			a.follow(e.PID, 0xff)
		}
	}
}

// timeLine is a time table in JSON.
type timeLine struct {
	V      int        `json:"v"`
	Type   string     `json:"type"` // "time"
	Table  string     `json:"table"`
	PID    ts.PID     `json:"pid"`
	UTC    *time.Time `json:"utc"` // null: not plausible
	Packet int64      `json:"packet"`
	PCR    *clock.PCR `json:"pcr,omitempty"` // of the first PCR PID, at the table
	Hex    string     `json:"hex,omitempty"` // of a table that is not plausible
}

// clock takes a time table.
func (a *analyzer) clock(pid ts.PID, section []byte, n int64) {
	name := tableName(section[0])
	t := &a.time
	t.tables[name]++
	line := timeLine{V: 1, Type: "time", Table: name, PID: pid, Packet: n}
	if a.base.started {
		p := a.base.pcr(n)
		line.PCR = &p
	}
	utc, ok := psi.TableUTC(section)
	if !ok {
		t.implausible++
		line.Hex = hex.EncodeToString(section[:min(len(section), 32)])
	} else {
		line.UTC = &utc
		if t.first.IsZero() {
			t.first = utc
		}
		t.last = utc
		if s, err := psi.ParseSTT(section); err == nil {
			a.leap = s.GPSUTCOffset
		}
		if a.base.started {
			a.drift(utc.Sub(time.Unix(0, 0)) - a.base.at(n).Duration())
		}
	}
	if a.cfg.JSON {
		a.out.put(line)
	}
}

// drift follows how far tables disagree with the stream's clock. After a jump of the clock it starts anew.
func (a *analyzer) drift(offset time.Duration) {
	t := &a.time
	if !t.set || t.jumps != a.base.jumps {
		t.set, t.jumps, t.offset = true, a.base.jumps, offset
		return
	}
	t.low, t.high = min(t.low, offset-t.offset), max(t.high, offset-t.offset)
}

var tableNames = map[uint8]string{
	psi.TablePAT: "PAT", psi.TableCAT: "CAT", psi.TablePMT: "PMT", 0x03: "TSDT", psi.TableNIT: "NIT", psi.TableNITOther: "NIT other",
	psi.TableSDT: "SDT", psi.TableSDTOther: "SDT other", 0x4a: "BAT", psi.TableTDT: "TDT", 0x71: "RST", 0x72: "ST", psi.TableTOT: "TOT",
	0x7e: "DIT", 0x7f: "SIT", psi.TableMGT: "MGT", psi.TableTVCT: "TVCT", psi.TableCVCT: "CVCT", psi.TableRRT: "RRT",
	psi.TableEIT: "EIT", psi.TableETT: "ETT", psi.TableSTT: "STT", 0xfc: "SCTE-35",
}

// tableName is the name of a table_id.
func tableName(id uint8) string {
	if n := tableNames[id]; n != "" {
		return n
	}
	switch {
	case id >= 0x4e && id <= 0x4f:
		return "EIT p/f"
	case id >= 0x50 && id <= 0x6f:
		return "EIT schedule"
	case id >= 0x80 && id <= 0x8f:
		return "ECM/EMM"
	case id >= 0x3a && id <= 0x3e:
		return "DSM-CC"
	}
	return "table 0x" + hex.EncodeToString([]byte{id})
}
