package chop

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/es"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// Roles of a PID, as bits.
const (
	rolePAT   = 1 << iota // PID 0
	rolePMT               // of the program
	roleSI                // PSIP or DVB SI
	roleKeep              // goes into canonical TS
	rolePCR               // carries the program's clock
	roleCut               // access units of this PID make parts and chunks
	roleAudio             // its PES packets are kept whole in a chunk
	roleTail              // since the chunk began no PES packet has: what comes is of the chunk before
)

// program follows the tables of one program and says what role each PID has.
type program struct {
	cfg   *Config
	roles [ts.NumPIDs]uint8

	assemblers map[ts.PID]*psi.Assembler
	pat        psi.PAT
	patSection []byte // as last seen, to tell a change
	pmt        psi.PMT
	pmtSection []byte
	pmtPID     ts.PID
	number     uint16
	cutPID     ts.PID
	codec      es.Codec

	stt, dvb bool // which system's tables were heard
	vctTSID  uint16
	haveVCT  bool
	onid     uint16
	sdtTSID  uint16
	haveSDT  bool
	label    label
	recorded Identity // of a clock file
	current  *layout  // for identity and video as below; nil when a table changed

	// what a packet's tables amounted to; read and cleared by the cutter
	patWhole, patChanged bool
	pmtWhole, pmtChanged bool
	utc                  time.Time // of a time table, zero if none
	si                   []siSection
	siSeen               map[uint64]struct{}
	err                  error
}

// label is how people know the program (docs/format/catalog.md). It is metadata of the source, never identity.
type label map[string]string

type siSection struct {
	pid     ts.PID
	section []byte
}

func (p *program) init(cfg *Config) {
	p.cfg = cfg
	p.assemblers = make(map[ts.PID]*psi.Assembler)
	p.siSeen = make(map[uint64]struct{})
	p.roles[ts.PIDPAT] = rolePAT
	for _, pid := range []ts.PID{ts.PIDNIT, ts.PIDSDT, ts.PIDEIT, ts.PIDTDT, ts.PIDPSIP} {
		p.roles[pid] = roleSI
	}
}

// known reports whether PAT and PMT have been heard.
func (p *program) known() bool { return p.pmtSection != nil }

// feed takes a packet of a PID that carries tables.
func (p *program) feed(pkt *ts.Packet) {
	pid := pkt.PID()
	a := p.assemblers[pid]
	if a == nil {
		a = new(psi.Assembler)
		p.assemblers[pid] = a
	}
	a.Feed(pkt, func(section []byte) {
		switch role := p.roles[pid]; {
		case role&rolePAT != 0:
			p.onPAT(section)
		case role&rolePMT != 0:
			p.onPMT(section)
		case role&roleSI != 0:
			p.onSI(pid, section)
		}
	})
}

// same compares tables by what they say: a device that makes PAT and PMT anew may count versions its own way.
func same(a, b []byte) bool {
	const version = 5 // H.222.0 §2.4.4.3: version_number shares this byte with current_next_indicator
	return len(a) == len(b) && len(a) > version+4 && bytes.Equal(a[:version], b[:version]) &&
		bytes.Equal(a[version+1:len(a)-4], b[version+1:len(b)-4])
}

func (p *program) onPAT(section []byte) {
	if section[0] != 0x00 {
		return
	}
	if same(p.patSection, section) {
		p.patWhole = true
		return
	}
	pat, err := psi.ParsePAT(section)
	if err != nil || pat.Next {
		return
	}
	programs := pat.Programs
	want := uint16(p.cfg.Program)
	if want == 0 {
		want = p.number // stay with the program that was found, whatever else appears
	}
	if want == 0 {
		switch len(programs) {
		case 0:
			return
		case 1:
			want = programs[0].Number
		default:
			p.err = &InputError{Err: errors.New("the stream has several programs: " + numbers(programs)),
				Tip: fmt.Sprintf("choose one with --program, for example --program %d", programs[0].Number)}
			return
		}
	}
	i := slices.IndexFunc(programs, func(e psi.Program) bool { return e.Number == want })
	if i < 0 {
		if !p.known() {
			p.err = &InputError{Err: fmt.Errorf("program %d is not in the stream, which has %s", want, numbers(programs))}
		}
		return
	}
	if p.number != want {
		clear(p.siSeen) // SI is to be looked at again, for this program
		p.number = want
	}
	p.current = nil
	p.patWhole = true
	p.patChanged = p.patSection != nil
	p.patSection = append(p.patSection[:0], section...)
	p.pat = pat
	if pmtPID := programs[i].PID; pmtPID != p.pmtPID {
		if p.pmtPID != 0 {
			p.roles[p.pmtPID] &^= rolePMT
			delete(p.assemblers, p.pmtPID)
		}
		p.pmtPID = pmtPID
		p.roles[pmtPID] |= rolePMT
	}
}

func numbers(programs []psi.Program) string {
	var s []string
	for _, e := range programs {
		s = append(s, fmt.Sprint(e.Number))
	}
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, ", ")
}

func (p *program) onPMT(section []byte) {
	if section[0] != 0x02 {
		return
	}
	if same(p.pmtSection, section) {
		p.pmtWhole = true
		return
	}
	pmt, err := psi.ParsePMT(section)
	if err != nil || pmt.Next || pmt.Program != p.number {
		return
	}
	p.current = nil
	p.pmtWhole = true
	p.pmtChanged = p.pmtSection != nil
	p.pmtSection = append(p.pmtSection[:0], section...)
	p.pmt = pmt
	for i := range p.roles {
		p.roles[i] &^= roleKeep | rolePCR | roleCut | roleAudio | roleTail
	}
	p.cutPID, p.codec = ts.PIDNull, es.Unknown
	for _, s := range pmt.Streams {
		if s.PID != ts.PIDNull {
			p.roles[s.PID] |= roleKeep
		}
		if p.cutPID == ts.PIDNull && pmt.Codec(s).Video() {
			p.cutPID, p.codec = s.PID, pmt.Codec(s)
		}
	}
	for _, s := range pmt.Streams {
		if p.cutPID == ts.PIDNull && pmt.Codec(s).Audio() {
			p.cutPID, p.codec = s.PID, pmt.Codec(s)
		}
	}
	if p.cutPID != ts.PIDNull {
		p.roles[p.cutPID] |= roleCut
	}
	if pmt.PCRPID != ts.PIDNull {
		p.roles[pmt.PCRPID] |= roleKeep | rolePCR
	}
	for _, s := range pmt.Streams {
		if pmt.Codec(s).Audio() && p.roles[s.PID]&(rolePCR|roleCut) == 0 && s.PID != ts.PIDNull {
			p.roles[s.PID] |= roleAudio
		}
	}
}

// maxSI bounds what is remembered of SI sections already passed on.
const maxSI = 1 << 16

func (p *program) onSI(pid ts.PID, section []byte) {
	if utc, ok := psi.TableUTC(section); ok {
		if plausible(utc) {
			p.utc = utc
			p.stt = p.stt || section[0] == psi.TableSTT
			p.dvb = p.dvb || section[0] != psi.TableSTT
		}
		return
	}
	key := sectionKey(pid, section)
	if _, ok := p.siSeen[key]; ok {
		return
	}
	if len(p.siSeen) >= maxSI {
		clear(p.siSeen)
	}
	p.siSeen[key] = struct{}{}
	switch section[0] {
	case psi.TableMGT:
		if mgt, err := psi.ParseMGT(section); err == nil {
			for _, t := range mgt.Tables {
				if p.roles[t.PID] == 0 && t.PID != ts.PIDNull {
					p.roles[t.PID] = roleSI
				}
			}
		}
	case psi.TableTVCT, psi.TableCVCT:
		if vct, err := psi.ParseVCT(section); err == nil {
			for _, c := range vct.Channels {
				if c.Program == p.number {
					p.vctTSID, p.haveVCT = c.TSID, true
					p.label = label{"callsign": c.ShortName, "channel": fmt.Sprintf("%d.%d", c.Major, c.Minor)}
					p.current = nil
				}
			}
		}
	case psi.TableSDT:
		if sdt, err := psi.ParseSDT(section); err == nil {
			for _, s := range sdt.Services {
				if s.ID == p.number {
					p.onid, p.sdtTSID, p.haveSDT = sdt.ONID, sdt.TSID, true
					_, _, name := s.Name()
					p.label = label{"service": name}
					p.current = nil
				}
			}
		}
	case psi.TableTDT, psi.TableTOT, psi.TableSTT:
		return // they say the time; the timeline track has it
	}
	p.si = append(p.si, siSection{pid, bytes.Clone(section)})
}

// identity is the broadcast as far as the tables tell. A VCT or SDT is waited for, because a device may have
// made the PAT anew, and because only an SDT knows the original network.
func (p *program) identity() Identity {
	switch {
	case p.cfg.Broadcast.Known():
		return p.cfg.Broadcast
	case p.recorded.Known():
		id := p.recorded
		if id.Program == 0 {
			id.Program = p.number
		}
		return id
	case p.haveVCT && (p.stt || !p.haveSDT):
		return Identity{System: "atsc", TSID: p.vctTSID, Program: p.number}
	case p.haveSDT:
		return Identity{System: "dvb", ONID: p.onid, TSID: p.sdtTSID, Program: p.number}
	}
	return Identity{}
}

// layout is what a chunk's catalog says of the program, as it was when the chunk began.
type layout struct {
	id        Identity
	program   uint16
	pmtPID    ts.PID
	pcrPID    ts.PID
	init      []byte // PAT and PMT packets
	video     string // RFC 6381 name where there is one
	streams   []catalog.Stream
	audioOnly bool
	label     label
}

// layout is made anew only when something in it has changed, so whoever keeps it can compare pointers.
func (p *program) layout(id Identity, video string) *layout {
	if l := p.current; l != nil && l.id == id && l.video == video {
		return l
	}
	tsid := p.pat.TSID
	if id.Known() {
		tsid = id.TSID
	}
	var patCC, pmtCC uint8
	pat := psi.PAT{TSID: tsid, Programs: []psi.Program{{Number: p.number, PID: p.pmtPID}}}
	pmt := p.pmt
	pmt.Version, pmt.Next = 0, false
	init := psi.AppendPackets(nil, ts.PIDPAT, &patCC, pat.Append(nil))
	init = psi.AppendPackets(init, p.pmtPID, &pmtCC, pmt.Append(nil))
	l := &layout{id: id, program: p.number, pmtPID: p.pmtPID, pcrPID: p.pmt.PCRPID, audioOnly: p.codec.Audio(), label: p.label,
		init: init, video: video}
	for _, s := range p.pmt.Streams {
		l.streams = append(l.streams, catalog.Stream{PID: int(s.PID), Type: int(s.Type), Codec: p.pmt.Codec(s).String(), Lang: s.Descriptors.Language()})
	}
	p.current = l
	return l
}

// appendTables writes the canonical PAT and PMT packets: made anew, so that nothing a device may have
// rewritten (versions, other programs, section order) is in them. They are the layout's with the counters set.
func (l *layout) appendTables(b []byte, patCC, pmtCC *uint8) []byte {
	start := len(b)
	b = append(b, l.init...)
	for i := start; i < len(b); i += ts.PacketSize {
		p, cc := (*ts.Packet)(b[i:]), pmtCC
		if p.PID() == ts.PIDPAT {
			cc = patCC
		}
		p.SetContinuity(*cc)
		*cc = (*cc + 1) & 0x0f
	}
	return b
}

// scrambledTip explains a stream in which no access unit could be read.
const scrambledTip = "the program is encrypted; a tuner with a CableCARD or CAM, or an unencrypted program, is needed"
