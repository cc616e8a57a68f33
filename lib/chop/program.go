package chop

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"every.channel/ec/lib/es"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

// Roles of a PID, as bits.
const (
	roleTable = 1 << iota // PAT or a PMT, or it is not known yet which
	roleSI                // PSIP or DVB SI
	roleKeep              // goes into canonical TS
	rolePCR               // carries the program's clock
	roleCut               // access units of this PID make parts and chunks
	roleAudio             // its PES packets are kept whole in a chunk
	roleTail              // no PES packet has begun since the chunk began, so packets belong to the chunk before
	roleES                // an elementary stream of some program: no tables are read from it
	roleNext              // kept from the next chunk on
	roleLeft              // in no PMT any more; it is looked for what belongs to the chunk before
	roleWas               // kept by an earlier PMT, and not heard since: the next packet may show that chunks from then lack some
)

// maxEarly bounds the PIDs on which a PMT is looked for before a PAT says where the PMT is.
const maxEarly = 32

// program follows the tables of one program, and tells what role each PID has.
type program struct {
	cfg   *Config
	roles [ts.NumPIDs]uint16

	assemblers map[ts.PID]*psi.Assembler
	pat        psi.Sections
	patTSID    uint16
	patVersion byte // the byte with its version_number
	patKnown   bool
	gone       bool   // the PAT lists the program no longer
	number     uint16 // of the program, 0 while not known
	pmtPID     ts.PID
	early      map[ts.PID]map[uint16][]byte // PMT sections heard before the PAT, by program
	others     map[uint16][]byte            // the PMTs of other programs, as last heard
	pmtSection []byte                       // the PMT as last heard, to tell a change
	next       *psi.PMT                     // the PMT that was heard and is not in force yet
	fresh      bool                         // next was heard just now

	pmt     psi.PMT // in force
	inForce bool
	cutPID  ts.PID
	codec   es.Codec
	awaited []ts.PID // audio and video PIDs: their silence counts as a sign of loss
	tailed  []ts.PID // audio whose PES packets are kept whole
	left    []ts.PID // that was so by the PMT before, and is not by this one

	stt, dvb bool // the systems whose tables were heard
	atsc     Identity
	sdt      Identity
	label    label
	renamed  int      // how often the tables named another broadcast than before
	recorded Identity // the identity by the clock file
	current  *layout  // the last result of layout; nil when something in it has changed
	versions psi.Versions

	// what the tables that ended in a packet say; the cutter reads and clears these
	patWhole, patChanged bool
	pmtWhole, pmtChanged bool
	pmtSkips             bool      // it has changed more than once
	utc                  time.Time // of a time table, zero if none
	utcKind              table
	si                   []siSection
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
	p.early = make(map[ts.PID]map[uint16][]byte)
	p.others = make(map[uint16][]byte)
	p.cutPID = ts.PIDNull
	p.roles[ts.PIDPAT] = roleTable
	for _, pid := range []ts.PID{ts.PIDNIT, ts.PIDSDT, ts.PIDEIT, ts.PIDTDT, ts.PIDPSIP} {
		p.roles[pid] = roleSI
	}
}

// feed takes a packet of a PID that carries tables.
func (p *program) feed(pkt *ts.Packet, pid ts.PID) {
	a := p.assemblers[pid]
	if a == nil {
		a = new(psi.Assembler)
		p.assemblers[pid] = a
	}
	a.Feed(pkt, func(section []byte) {
		switch role := p.roles[pid]; {
		case pid == ts.PIDPAT:
			p.onPAT(section)
		case role&roleTable != 0:
			p.onPMT(pid, section)
		case role&roleSI != 0 && role&roleES == 0:
			p.onSI(pid, section)
		}
	})
}

// foreshadow looks for a PMT before the PAT was heard. If the PMT comes first in a stream, the first random access point must not
// be lost for lack of a PAT.
func (p *program) foreshadow(pkt *ts.Packet, pid ts.PID) {
	if b := pkt.Payload(); pkt.UnitStart() && len(b) > 3 && b[0] == 0 && b[1] == psi.TablePMT && b[2]&0xc0 == 0x80 && len(p.early) < maxEarly {
		p.early[pid] = make(map[uint16][]byte)
		p.roles[pid] |= roleTable
		p.feed(pkt, pid)
	}
}

// same compares tables without their version: a device that makes PAT and PMT anew may count versions in its own way.
func same(a, b []byte) bool {
	const version = 5 // H.222.0 §2.4.4.3: version_number shares this byte with current_next_indicator
	return len(a) == len(b) && len(a) > version+4 && bytes.Equal(a[:version], b[:version]) && a[version]&1 == b[version]&1 &&
		bytes.Equal(a[version+1:len(a)-4], b[version+1:len(b)-4])
}

// skips reports whether a table has changed more than once between two sections, by the bytes with their version_number, which is incremented by 1
// with each change: so it may have changed back.
func skips(a, b byte) bool {
	d := (b>>1 - a>>1) & 0x1f
	return d > 1
}

func (p *program) onPAT(section []byte) {
	if section[0] != psi.TablePAT {
		return
	}
	whole, changed := p.pat.Add(section)
	if !whole {
		return
	}
	jumped := p.patKnown && skips(p.patVersion, section[5])
	p.patVersion = section[5]
	if !changed && p.patKnown {
		p.patWhole, p.patChanged = true, jumped
		return
	}
	var programs []psi.Program
	var tsid uint16
	for _, s := range p.pat.All() {
		pat, err := psi.ParsePAT(s)
		if err != nil {
			return
		}
		tsid = pat.TSID
		programs = append(programs, pat.Programs...)
	}
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
	if i < 0 && p.cfg.Program == 0 && len(programs) == 1 { // the only program has another number than before
		i, want = 0, programs[0].Number
	}
	if p.patKnown && (i < 0 || want != p.number || p.gone) {
		p.gone = i < 0
		p.disown(func(*Identity) bool { return true })
	}
	if i < 0 {
		if !p.inForce {
			p.err = &InputError{Err: fmt.Errorf("program %d is not in the stream, which has %s", want, numbers(programs))}
		}
		return
	}
	pid := programs[i].PID
	p.patWhole = true
	if p.patKnown && tsid != p.patTSID {
		p.disown(func(id *Identity) bool { return id.TSID != tsid })
	}
	moved := p.patKnown && (want != p.number || pid != p.pmtPID || tsid != p.patTSID)
	p.patChanged = moved || jumped
	if !p.patKnown || moved {
		p.current = nil
	}
	p.number, p.pmtPID, p.patTSID, p.patKnown = want, pid, tsid, true
	for other := range p.roles {
		p.roles[other] &^= roleTable
	}
	p.roles[ts.PIDPAT] |= roleTable
	for _, e := range programs {
		if e.PID != ts.PIDNull {
			p.roles[e.PID] |= roleTable
		}
	}
	early := p.early[pid][want]
	p.early = nil
	if early != nil {
		p.onPMT(pid, early)
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

func (p *program) onPMT(pid ts.PID, section []byte) {
	if section[0] != psi.TablePMT {
		return
	}
	if pid == p.pmtPID && same(p.pmtSection, section) {
		p.pmtWhole, p.pmtSkips = true, skips(p.pmtSection[5], section[5])
		p.pmtChanged = p.pmtSkips
		p.pmtSection[5] = section[5]
		return
	}
	h, err := psi.ParseHeader(section)
	if err != nil || h.Next {
		return
	}
	if !p.patKnown {
		if p.early[pid] != nil && len(p.early[pid]) < maxEarly {
			p.early[pid][h.Extension] = bytes.Clone(section)
		}
		return
	}
	mine := pid == p.pmtPID && h.Extension == p.number
	if !mine && same(p.others[h.Extension], section) {
		return
	}
	pmt, err := psi.ParsePMT(section)
	if err != nil {
		return
	}
	for _, s := range pmt.Streams {
		p.roles[s.PID] |= roleES
	}
	if !mine {
		p.others[h.Extension] = bytes.Clone(section)
		return
	}
	p.pmtWhole = true
	p.pmtChanged = p.pmtSection != nil
	p.pmtSkips = p.pmtChanged && skips(p.pmtSection[5], section[5])
	p.pmtSection = append(p.pmtSection[:0], section...)
	p.next, p.fresh = &pmt, true
}

// cutOf returns the PID that a PMT makes the cut PID.
func cutOf(pmt *psi.PMT) (ts.PID, es.Codec) {
	for _, role := range []es.Role{es.RoleVideo, es.RoleAudio} {
		for _, s := range pmt.Streams {
			if c := pmt.Codec(s); c.Role() == role && !s.Type.Part() && s.PID != ts.PIDNull {
				return s.PID, c
			}
		}
	}
	return ts.PIDNull, es.Unknown
}

// recuts reports whether the PMT that was heard just now may change where chunks are cut, by another PID or codec: it does, or another one
// in between was lost, as its version_number shows.
func (p *program) recuts() bool {
	if p.pmtSkips || p.next == nil {
		return true
	}
	pid, codec := cutOf(p.next)
	return pid != p.cutPID || codec != p.codec
}

// announce marks the PIDs that the last PMT heard will add. Its PCR PID counts at once: no PCR comes on the one before.
func (p *program) announce() {
	for i := range p.roles {
		p.roles[i] &^= roleNext | rolePCR
	}
	if p.next.PCRPID != ts.PIDNull {
		p.roles[p.next.PCRPID] |= rolePCR
	}
	for _, s := range p.next.Streams {
		if s.PID != ts.PIDNull {
			p.roles[s.PID] |= roleNext
		}
	}
}

// apply puts the last PMT that was heard in force, and reports whether it differs from the one before.
func (p *program) apply() bool {
	if p.next == nil {
		return false
	}
	p.pmt, p.next, p.inForce, p.current = *p.next, nil, true, nil
	for i := range p.roles {
		if p.roles[i]&roleKeep != 0 {
			p.roles[i] |= roleWas
		}
		p.roles[i] &^= roleKeep | rolePCR | roleCut | roleAudio | roleTail | roleNext | roleLeft
	}
	p.awaited, p.tailed, p.left = p.awaited[:0], nil, p.tailed
	p.cutPID, p.codec = cutOf(&p.pmt)
	if p.pmt.PCRPID != ts.PIDNull {
		p.roles[p.pmt.PCRPID] |= rolePCR
	}
	for _, s := range p.pmt.Streams {
		if s.PID == ts.PIDNull || p.roles[s.PID]&roleKeep != 0 {
			continue
		}
		p.roles[s.PID] |= roleKeep
		role := p.pmt.Codec(s).Role()
		if role.Steady() {
			p.awaited = append(p.awaited, s.PID)
		}
		if role == es.RoleAudio && s.PID != p.cutPID {
			p.roles[s.PID] |= roleAudio
			p.tailed = append(p.tailed, s.PID)
		}
	}
	if p.cutPID != ts.PIDNull {
		p.roles[p.cutPID] |= roleCut
	}
	p.left = slices.DeleteFunc(p.left, func(pid ts.PID) bool { return p.roles[pid]&roleKeep != 0 })
	return true
}

func (p *program) onSI(pid ts.PID, section []byte) {
	if !p.inForce && p.next == nil {
		return // whether this PID holds tables is known once the PMT is known
	}
	p.identify(section)
	if h, err := psi.ParseHeader(section); err == nil && h.Next {
		return // the table does not apply yet
	}
	if utc, ok := psi.TableUTC(section); ok {
		p.utc = utc
		switch section[0] {
		case psi.TableSTT:
			p.utcKind, p.stt = tableSTT, true
		case psi.TableTOT:
			p.utcKind, p.dvb = tableTOT, true
		default:
			p.utcKind, p.dvb = tableTDT, true
		}
		if timeless := psi.Timeless(section); timeless == nil || !p.versions.New(uint16(pid), timeless) {
			return // the timeline track has the time
		}
		p.si = append(p.si, siSection{pid, bytes.Clone(section)})
		return
	}
	if !p.versions.New(uint16(pid), section) {
		return
	}
	if section[0] == psi.TableMGT {
		if mgt, err := psi.ParseMGT(section); err == nil {
			for _, t := range mgt.Tables {
				if p.roles[t.PID] == 0 && t.PID != ts.PIDNull {
					p.roles[t.PID] = roleSI
				}
			}
		}
	}
	p.si = append(p.si, siSection{pid, bytes.Clone(section)})
}

// identify reads whose broadcast it is from each repetition of a table: a name that comes again after another one counts again.
func (p *program) identify(section []byte) {
	if p.gone {
		return // a receiver may have lost the PAT that lists the program again
	}
	was, name := p.identity(), label(nil)
	switch section[0] {
	case psi.TableTVCT, psi.TableCVCT:
		if vct, err := psi.ParseVCT(section); err == nil {
			if c, ok := vct.Of(p.number); ok {
				p.atsc = Identity{System: "atsc", TSID: c.TSID, Program: p.number}
				name = label{"callsign": c.ShortName, "channel": c.Channel()}
			}
		}
	case psi.TableSDT:
		if sdt, err := psi.ParseSDT(section); err == nil {
			if s, ok := sdt.Of(p.number); ok {
				p.sdt = Identity{System: "dvb", ONID: sdt.ONID, TSID: sdt.TSID, Program: p.number}
				_, _, service := s.Name()
				name = label{"service": service}
			}
		}
	}
	if name != nil && !maps.Equal(name, p.label) {
		p.label, p.current = name, nil
	}
	if was.Known() && p.identity() != was {
		p.renamed++
	}
}

// disown notes that the PAT has another transport_stream_id, or the program another number or none: until a VCT or SDT is heard again,
// nothing tells whose broadcast it is, as a receiver may have lost the first one. What already names the new transport stream counts
// on. A device that makes the PAT anew sends one transport_stream_id, whichever, and so changes nothing.
func (p *program) disown(old func(*Identity) bool) {
	for _, id := range []*Identity{&p.atsc, &p.sdt} {
		if old(id) {
			*id = Identity{}
		}
	}
	if !p.cfg.Broadcast.Known() && !p.recorded.Known() {
		p.renamed++
	}
}

// identity returns the broadcast as far as the tables tell it. A VCT or SDT is waited for, because a device may have made the PAT
// anew, and because only an SDT names the original network.
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
	case p.atsc.somebody() && (p.stt || !p.sdt.Known()):
		return p.atsc
	case p.sdt.somebody():
		return p.sdt
	}
	return Identity{}
}

// somebody reports whether id names one broadcast. Ids for private and temporary use (ETSI TS 101 162) do not, nor do ids that
// multiplexers send when nobody has set any.
func (id Identity) somebody() bool {
	switch id.System {
	case "atsc":
		return id.TSID != 0 && id.TSID != 0xffff
	case "dvb":
		return id.ONID != 0 && id.ONID < 0xff00
	}
	return false
}

// layout is the program as a chunk's bytes and its catalog describe it, from the moment when the chunk began. It never changes.
type layout struct {
	program   uint16
	patTSID   uint16
	pmtPID    ts.PID
	pcrPID    ts.PID // of the PCR made anew
	pmt       []byte // packets, counters from 0
	video     string // RFC 6381 name where there is one
	streams   []stream
	audioOnly bool
	label     label
}

type stream struct {
	pid   ts.PID
	kind  psi.StreamType
	codec string
	lang  string
}

// layout returns the current layout. A new one is made only when something in it has changed, so layouts can be compared by
// pointer.
func (p *program) layout(video string) *layout {
	if l := p.current; l != nil && l.video == video {
		return l
	}
	pmt := p.pmt
	pmt.Version, pmt.Next = 0, false
	pmt.PCRPID = ts.PIDPSIP - 1
	for pmt.PCRPID == p.pmtPID || slices.ContainsFunc(pmt.Streams, func(s psi.Stream) bool { return s.PID == pmt.PCRPID }) {
		pmt.PCRPID--
	}
	l := &layout{program: p.pmt.Program, patTSID: p.patTSID, pmtPID: p.pmtPID, pcrPID: pmt.PCRPID, audioOnly: p.codec.Role() == es.RoleAudio,
		label: p.label, video: video}
	var cc uint8
	pmt.Version = versionOf(pmt.Append(nil))
	l.pmt = psi.AppendPackets(nil, p.pmtPID, &cc, pmt.Append(nil))
	for _, s := range p.pmt.Streams {
		l.streams = append(l.streams, stream{s.PID, s.Type, p.pmt.Codec(s).String(), s.Descriptors.Language()})
	}
	p.current = l
	return l
}

// has reports whether a PID is one of the program's.
func (l *layout) has(pid ts.PID) bool {
	return slices.ContainsFunc(l.streams, func(s stream) bool { return s.pid == pid })
}

// head returns how many bytes PAT and PMT take.
func (l *layout) head() int { return ts.PacketSize + len(l.pmt) }

// nothing is a null packet, which holds the place of a table.
var nothing = func() (p ts.Packet) { p.SetNull(); return p }()

// room appends room for PAT and PMT.
func (l *layout) room(b []byte) []byte {
	for range l.head() / ts.PacketSize {
		b = append(b, nothing[:]...)
	}
	return b
}

// versionOf makes the version_number of a section from the CRC_32 that the section has with version_number 0. Players take up a
// table only if its version has changed (H.222.0 §2.4.4.5, §2.4.4.9), and the broadcast's own version may have been rewritten on
// the way.
func versionOf(section []byte) uint8 { return section[len(section)-1] & 0x1f }

// tables writes the n-th PAT and PMT of their chunk over the first bytes of b. They hold nothing that a device may have rewritten
// (versions, other programs, section order).
func (l *layout) tables(b []byte, tsid uint16, n int) {
	pat := psi.PAT{TSID: tsid, Programs: []psi.Program{{Number: l.program, PID: l.pmtPID}}}
	pat.Version = versionOf(pat.Append(nil))
	cc := uint8(n) & 0x0f
	copy(b, psi.AppendPackets(make([]byte, 0, ts.PacketSize), ts.PIDPAT, &cc, pat.Append(nil)))
	copy(b[ts.PacketSize:], l.pmt)
	for i := ts.PacketSize; i < l.head(); i += ts.PacketSize {
		(*ts.Packet)(b[i:]).SetContinuity(uint8(n*len(l.pmt)/ts.PacketSize + i/ts.PacketSize - 1))
	}
}

// tablesEach divides the number of tables in every chunk, so that their counters go on from chunk to chunk.
const tablesEach = 16

// pad writes more tables behind a chunk's last packets, until the n so far are a multiple of tablesEach.
func (l *layout) pad(b []byte, tsid uint16, n int) []byte {
	for ; n%tablesEach != 0; n++ {
		at := len(b)
		b = l.room(b)
		l.tables(b[at:], tsid, n)
	}
	return b
}

// scrambledTip explains a stream in which no access unit could be read.
const scrambledTip = "the program is encrypted; a tuner with a CableCARD or CAM, or an unencrypted program, is needed"
