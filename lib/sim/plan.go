package sim

import (
	"errors"
	"fmt"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/ts"
)

// The multiplex is divided into slots. What a slot holds follows from its number, which is UTC divided
// by its length.
const (
	slotTime  = 100 * time.Millisecond
	slotTicks = int64(clock.Hz / 10)       // 90 kHz
	slotPCR   = int64(clock.SystemHz / 10) // 27 MHz
)

// clockParts is how many times a slot sends the PCR of each service on its own: every 33.3 ms, where
// H.222.0 §2.7.2 allows 100 ms and TR 101 290 2.3a warns at 40 ms.
const clockParts = 3

// A plan is what follows from the configuration of a Mux.
type plan struct {
	mux      *Mux  // as its habits make it
	packets  int64 // in a slot
	clips    map[string]*clip
	services []service
	streams  []*stream
	owner    []int // index of the service that a stream belongs to
	tables   []table
	resets   []reset
	pat      [][]ts.Packet // the PAT for each service alone, by section_number
	vctSize  int           // of the VCT, for the MGT
	eitSize  int           // of the EIT sections of all services
}

// A service has its PIDs, and the streams that it sends.
type service struct {
	Service
	video, audio, second, clock ts.PID // clock is the PCR_PID
	pcr                         int    // index of the stream with the PCR_PID, or noStream
}

const noStream = -1

// A reset is a PID whose counter starts anew, where that is announced.
type reset struct {
	pid     ts.PID
	service int
}

// PIDs of what habits add, from that of the PMT on.
const (
	afterSecond ts.PID = 5 + iota
	afterSubtitles
	afterTeletext
	afterSCTE35
	afterSections
	afterData
	afterSilent
	afterClock
	afterAdded
	afterAll
)

// allServices selects the whole multiplex, null packets included.
const allServices = -1

func newPlan(mux *Mux) (*plan, error) {
	m := mux.formed()
	h := &m.Habits
	p := &plan{mux: m, clips: map[string]*clip{}}
	if len(m.Services) == 0 || len(m.Services) > 16 {
		return nil, fmt.Errorf("%d services: want 1 to 16", len(m.Services))
	}
	if err := errors.Join(h.check(), m.Jump.check(), checkPIDs(m)); err != nil {
		return nil, err
	}
	for i, v := range m.Services {
		s := service{Service: v, video: v.videoPID(), audio: v.audioPID(), second: v.PID + afterSecond, pcr: noStream}
		if h.LowPIDs && i == 0 {
			s.video, s.audio = ts.PIDSDT, ts.PIDTDT
			if m.Standard == DVB {
				s.video, s.audio = v.videoPID(), ts.PIDPSIP
			}
		}
		if s.clock = s.video; v.Video == "" {
			s.clock = s.audio
		}
		if h.PCR == PCROwnPID {
			s.clock = v.PID + afterClock
		}
		for _, c := range []struct {
			name  string
			pid   ts.PID
			pause Pause
			want  bool
		}{{v.Video, s.video, Pause{}, true}, {v.Audio, s.audio, Pause{}, true}, {v.Audio, s.second, h.Pause, h.SecondAudio}} {
			if c.name == "" || !c.want {
				continue
			}
			clip, err := p.clip(c.name)
			if err != nil {
				return nil, err
			}
			if v.Dead {
				continue
			}
			pcr := pcrNowhere
			if c.pid == s.clock {
				s.pcr = len(p.streams)
				switch h.PCR {
				case PCRMixed, PCRCadence, PCRNeeded:
					pcr = pcrStarts
				case PCRPayload:
					pcr = pcrAnywhere
				}
			}
			p.streams = append(p.streams, newStream(clip, c.pid, pcr, v.Scrambled, h, c.pause))
			p.owner = append(p.owner, i)
		}
		p.services = append(p.services, s)
	}
	if err := p.makeTables(); err != nil {
		return nil, err
	}
	p.listResets()
	p.packets = p.least()
	if n := int64(m.Rate) / (8 * ts.PacketSize) / int64(time.Second/slotTime); n > p.packets {
		p.packets = n
	} else if m.Rate > 0 && n < p.packets {
		return nil, fmt.Errorf("rate %d bit/s: these services need %d", m.Rate, p.rate())
	}
	return p, nil
}

// listResets lists every PID with a counter, for a multiplex that announces that they start anew.
func (p *plan) listResets() {
	if !p.mux.Jump.Counters || p.mux.Jump.Silent || p.mux.Jump.Every == 0 {
		return
	}
	add := func(pid ts.PID, service int) {
		for _, r := range p.resets {
			if r.pid == pid {
				return
			}
		}
		p.resets = append(p.resets, reset{pid, service})
	}
	for i := range p.tables {
		add(p.tables[i].pid, p.tables[i].service)
	}
	for i, s := range p.streams {
		add(s.pid, p.owner[i])
	}
}

// parts is how often a slot sends the PCR of each service on its own.
func (p *plan) parts() int64 {
	if every := p.mux.Habits.PCREvery; every > 0 {
		return int64((slotTime + every - 1) / every)
	}
	return clockParts
}

// clocks tells whether service i sends its PCR on its own in slot n.
func (p *plan) clocks(i int, n int64) bool {
	s := &p.services[i]
	if s.Dead {
		return false
	}
	switch p.mux.Habits.PCR {
	case PCRCadence:
		return n/(10*int64(time.Second/slotTime))%2 == 0
	case PCRPayload:
		return s.pcr == noStream || p.streams[s.pcr].firstIn(n) == p.streams[s.pcr].firstIn(n+1)
	case PCRNone:
		return false
	}
	return true
}

// clip loads a clip once.
func (p *plan) clip(name string) (*clip, error) {
	c := p.clips[name]
	if c == nil {
		var err error
		if c, err = loadClip(name); err != nil {
			return nil, err
		}
		p.clips[name] = c
	}
	return c, nil
}

// codec is that of a clip, "" if there is none.
func (p *plan) codec(name string) string {
	if c := p.clips[name]; c != nil {
		return c.codec
	}
	return ""
}

// rate is the bit rate of the multiplex.
func (p *plan) rate() int64 { return p.packets * 8 * ts.PacketSize * int64(time.Second/slotTime) }

// least is the number of packets that fits every slot whatever its number.
func (p *plan) least() int64 {
	head := len(p.mux.Services) // the packets at the head of a slot
	half := len(p.mux.Services)
	for i := range p.tables {
		if t := &p.tables[i]; t.half {
			half += t.packets
		} else {
			head += t.packets
		}
	}
	head += len(p.resets)
	sum := head + half + (max(clockParts, int(p.parts()))-2)*len(p.mux.Services)
	for _, s := range p.streams {
		sum += s.most()
	}
	return int64(max(sum+sum/50, clockParts*head, 4*half)) + 1
}

func checkPIDs(m *Mux) error {
	pids := map[ts.PID]string{ts.PIDNull: "null packets"}
	numbers := map[uint16]bool{}
	for _, s := range m.Services {
		if s.Video == "" && s.Audio == "" {
			return fmt.Errorf("service %s has neither video nor audio", s.Number)
		}
		if s.Program == 0 || numbers[s.Program] {
			return fmt.Errorf("service %s: program number %d is 0 or taken", s.Number, s.Program)
		}
		numbers[s.Program] = true
		for pid := s.PID; pid < s.PID+afterAll; pid++ {
			if pid > s.videoPID() && pid < s.audioPID() || pid > s.audioPID() && m.Habits == (Habits{}) {
				continue
			}
			if pid < 0x20 || pid >= ts.PIDPSIP || pids[pid] != "" {
				return fmt.Errorf("service %s: PID %#x is reserved or taken", s.Number, pid)
			}
			pids[pid] = s.Number
		}
	}
	return nil
}

// ErrProgram: the multiplex has no such program.
var ErrProgram = errors.New("no such program in the multiplex")

// service is the index of the service with a program number; 0 selects them all.
func (p *plan) service(program uint16) (int, error) {
	if program == 0 {
		return allServices, nil
	}
	for i, s := range p.services {
		if s.Program == program {
			return i, nil
		}
	}
	return 0, fmt.Errorf("program %d: %w", program, ErrProgram)
}

// What an entry of a slot's layout sends, besides the index of a stream.
const (
	sendNull  uint16 = 0xffff
	sendClock uint16 = 0x8000 // plus the index of the service
	sendTable uint16 = 0x4000 // plus an index into the slot's table packets
	sendReset uint16 = 0x2000 // plus an index into the plan's resets
)

// A slot is the layout of one slot and the state of its streams while it is sent.
type slot struct {
	number  int64
	at      int // the next packet
	offset  clock.Ticks
	jump    bool
	layout  []uint16
	marks   []uint8 // of the packets of streams; nil when none has any
	cursors []cursor
	tables  []*table // of each table packet
	packets []byte   // table packets
	made    []made   // of each table of the plan
}

// begin lays out slot number n.
func (p *plan) begin(sl *slot, n int64) {
	sl.number, sl.at = n, 0
	sl.offset, sl.jump = p.mux.offset(n), p.mux.jumps(n)
	base, counted := p.mux.counted(n)
	if sl.layout == nil {
		sl.layout = make([]uint16, p.packets)
		sl.cursors = make([]cursor, len(p.streams))
		sl.made = make([]made, len(p.tables))
	}
	const free = 0x7fff
	for i := range sl.layout {
		sl.layout[i] = free
	}
	// What has its place: clocks at each third, tables at the head and in the middle.
	taken := 0
	put := func(at int, what uint16) {
		for sl.layout[at] != free {
			at++
		}
		sl.layout[at] = what
		taken++
	}
	parts := p.parts()
	for part := range parts {
		for i := range p.services {
			if p.clocks(i, n) {
				put(int(part*p.packets/parts), sendClock+uint16(i))
			}
		}
	}
	if counted && base == n {
		for i := range p.resets {
			put(0, sendReset+uint16(i))
		}
	}
	p.fillTables(sl)
	for i, t := range sl.tables {
		at := 0
		if t.half {
			at = int(p.packets / 2)
		}
		put(at, sendTable+uint16(i))
	}
	// The streams share the rest, each evenly.
	type share struct{ next, step, left int64 } // next and step in 1/65536 of a free place
	var shares [48]share
	left, room := int64(0), p.packets-int64(taken)
	for i, s := range p.streams {
		first, end := s.firstIn(n), s.firstIn(n+1)
		from := int64(0)
		if counted {
			from = s.firstIn(base)
		}
		sl.cursors[i] = s.at(first, from)
		if count := s.before(end) - s.before(first); count > 0 {
			step := room << 16 / count
			shares[i] = share{step / 2, step, count}
			left += count
		}
	}
	place := int64(0)
	for at := range sl.layout {
		if sl.layout[at] != free {
			continue
		}
		best := -1
		for i := range p.streams {
			if shares[i].left > 0 && (best < 0 || shares[i].next < shares[best].next) {
				best = i
			}
		}
		if best >= 0 && (shares[best].next <= place<<16 || left >= room-place) {
			sl.layout[at] = uint16(best)
			shares[best].next += shares[best].step
			shares[best].left--
			left--
		} else {
			sl.layout[at] = sendNull
		}
		place++
	}
	if p.mux.Habits.Duplicates > 0 {
		p.joinCopies(sl)
	}
	p.mark(sl)
}

// joinCopies moves clocks that lie between a packet and its copy behind the copy: the two come one after the other
// on their PID (H.222.0 §2.4.3.3).
func (p *plan) joinCopies(sl *slot) {
	var k, last [48]int
	for i := range p.streams {
		k[i] = sl.cursors[i].k
	}
	for at, what := range sl.layout {
		if int(what) >= len(p.streams) {
			continue
		}
		s := p.streams[what]
		if s.packets[k[what]].copy {
			to := at
			for from := at - 1; from > last[what]; from-- {
				if w := sl.layout[from]; w >= sendClock && w != sendNull && p.services[w-sendClock].clock == s.pid {
					sl.layout[from], sl.layout[to] = what, w
					to = from
				}
			}
		}
		last[what] = at
		if k[what]++; k[what] == len(s.packets) {
			k[what] = 0
		}
	}
}

// mark chooses the packets with payload that carry a PCR or discontinuity_indicator, where not all do, and leaves out clocks that
// are not needed.
func (p *plan) mark(sl *slot) {
	h := &p.mux.Habits
	announce := sl.jump && !p.mux.Jump.Silent
	first := h.DiscontinuityFirst > 0 && sl.number%int64(h.DiscontinuityFirst/slotTime) == 0
	if h.PCR != PCRPayload && h.PCR != PCRNeeded && !(h.PCR == PCRCadence && announce) && !first {
		sl.marks = nil
		return
	}
	if sl.marks = sl.marks[:0]; cap(sl.marks) < len(sl.layout) {
		sl.marks = make([]uint8, 0, len(sl.layout))
	}
	every := h.PCREvery
	if every == 0 {
		every = slotTime / clockParts
	}
	gap := int(p.packets * int64(every) * 3 / 4 / int64(slotTime)) // a little less, the next place may be late
	var k [48]int
	var before [48]uint8 // the mark of the packet before
	var last [16]int     // where the last PCR of a service was, plus one
	var done [48]bool    // discontinuity_indicator was set
	for i := range p.streams {
		k[i] = sl.cursors[i].k
	}
	for at, what := range sl.layout {
		mark := uint8(0)
		switch {
		case int(what) < len(p.streams):
			s, own := p.streams[what], p.owner[what]
			q := &s.packets[k[what]]
			switch {
			case q.copy:
				mark = before[what]
			case q.pcr && (s.pcr == pcrStarts || last[own] == 0 || at-last[own]+1 >= gap):
				mark = markPCR
				if announce && last[own] == 0 && !(h.PCR == PCRMixed) {
					mark |= markDiscontinuity
				}
			case first && s.audio && s.pcr == pcrNowhere && q.start && q.field && !done[what]:
				mark, done[what] = markDiscontinuity, true
			}
			if before[what] = mark; mark&markPCR != 0 {
				last[own] = at + 1
			}
			if k[what]++; k[what] == len(s.packets) {
				k[what] = 0
			}
		case what >= sendClock && what != sendNull:
			own := what - sendClock
			if h.PCR == PCRNeeded && last[own] > 0 && at-last[own]+1 < gap {
				sl.layout[at] = sendNull
				break
			}
			last[own] = at + 1
		}
		sl.marks = append(sl.marks, mark)
	}
}

// skip passes over a packet of the slot without writing it.
func (p *plan) skip(sl *slot) {
	if what := sl.layout[sl.at]; int(what) < len(p.streams) {
		p.streams[what].next(&sl.cursors[what])
	}
	sl.at++
}

// send writes the next packet of the slot into out if it belongs to the service, and tells whether it did.
func (p *plan) send(sl *slot, service int, out *ts.Packet) bool {
	what := sl.layout[sl.at]
	switch {
	case int(what) < len(p.streams):
		own := service == allServices || p.owner[what] == service
		s := p.streams[what]
		if own {
			mark := uint8(0)
			if sl.marks != nil {
				mark = sl.marks[sl.at]
			}
			s.put(out, &sl.cursors[what], mark, p.pcr(sl), sl.offset)
			if p.mux.Habits.DiscontinuityEvery {
				if _, ok := out.PCR(); ok {
					out[5] |= 0x80 // discontinuity_indicator
				}
			}
		}
		s.next(&sl.cursors[what])
		sl.at++
		return own
	case what == sendNull:
		if service == allServices {
			out.SetNull()
		}
	case what >= sendClock:
		i := int(what - sendClock)
		if service != allServices && service != i {
			break
		}
		p.sendClock(sl, i, out)
		sl.at++
		return true
	case what < sendTable:
		r := &p.resets[what-sendReset]
		if service != allServices && r.service != allServices && r.service != service {
			break
		}
		h := ts.Header{PID: r.pid, Discontinuity: true, Continuity: 0x0f} // the next with payload has 0
		out.Fill(&h, nil)
		sl.at++
		return true
	default:
		i := int(what - sendTable)
		t := sl.tables[i]
		if service != allServices && t.service != allServices && t.service != service {
			break
		}
		*out = ts.Packet(sl.packets[i*ts.PacketSize:])
		if t.pat && service != allServices {
			cc := out.Continuity()
			*out = p.pat[service][t.number]
			out.SetContinuity(cc)
		}
		sl.at++
		return true
	}
	sl.at++
	return what == sendNull && service == allServices
}

// sendClock writes a packet that holds the PCR of service i and nothing else. Its continuity counter is
// that of the packet before on the same PID (H.222.0 §2.4.3.3).
func (p *plan) sendClock(sl *slot, i int, out *ts.Packet) {
	v := &p.services[i]
	h := ts.Header{PID: v.clock, HasPCR: true, PCR: p.pcr(sl)}
	h.Discontinuity = sl.jump && sl.at < len(sl.layout)/int(p.parts()) && !p.mux.Jump.Silent || p.mux.Habits.DiscontinuityEvery
	if v.pcr != noStream {
		h.Continuity = (sl.cursors[v.pcr].cc - 1) & 0x0f
	}
	out.Fill(&h, nil)
}

// pcr is the clock at the next packet of the slot.
func (p *plan) pcr(sl *slot) uint64 {
	at := (clock.Ticks(sl.number*slotTicks) + sl.offset).PTS().PCR()
	return uint64(at.Add(clock.Ticks27(int64(sl.at) * slotPCR / p.packets)))
}
