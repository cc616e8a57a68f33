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
	mux     *Mux
	packets int64 // in a slot
	clips   map[string]*clip
	streams []*stream
	owner   []int // index of the service that a stream belongs to
	tables  []table
	pat     []ts.Packet // the PAT for each service alone
	vctSize int         // of the TVCT, for the MGT
	eitSize int         // of the EIT sections of all services
}

// allServices selects the whole multiplex, null packets included.
const allServices = -1

func newPlan(m *Mux) (*plan, error) {
	p := &plan{mux: m, clips: map[string]*clip{}}
	if len(m.Services) == 0 || len(m.Services) > 16 {
		return nil, fmt.Errorf("%d services: want 1 to 16", len(m.Services))
	}
	if m.Jump.Every != 0 && m.Jump.Every < slotTime {
		return nil, fmt.Errorf("clock jumps every %s: want %s or more", m.Jump.Every, slotTime)
	}
	if err := checkPIDs(m); err != nil {
		return nil, err
	}
	for i, s := range m.Services {
		for _, c := range []struct {
			name string
			pid  ts.PID
		}{{s.Video, s.videoPID()}, {s.Audio, s.audioPID()}} {
			if c.name == "" {
				continue
			}
			clip, err := p.clip(c.name)
			if err != nil {
				return nil, err
			}
			if s.Dead {
				continue
			}
			p.streams = append(p.streams, newStream(clip, c.pid, c.pid == s.pcrPID(), s.Scrambled))
			p.owner = append(p.owner, i)
		}
	}
	if err := p.makeTables(); err != nil {
		return nil, err
	}
	p.packets = p.least()
	if n := int64(m.Rate) / (8 * ts.PacketSize) / int64(time.Second/slotTime); n > p.packets {
		p.packets = n
	} else if m.Rate > 0 && n < p.packets {
		return nil, fmt.Errorf("rate %d bit/s: these services need %d", m.Rate, p.rate())
	}
	return p, nil
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
	sum := head + half + (clockParts-2)*len(p.mux.Services)
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
		for _, pid := range []ts.PID{s.PID, s.videoPID(), s.audioPID()} {
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
	for i, s := range p.mux.Services {
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
)

// A slot is the layout of one slot and the state of its streams while it is sent.
type slot struct {
	number  int64
	at      int // the next packet
	offset  clock.Ticks
	jump    bool
	layout  []uint16
	cursors []cursor
	tables  []*table // of each table packet
	packets []byte   // table packets
	made    []made   // of each table of the plan
}

// begin lays out slot number n.
func (p *plan) begin(sl *slot, n int64) {
	sl.number, sl.at = n, 0
	sl.offset, sl.jump = p.mux.offset(n), p.mux.jumps(n)
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
	for part := range int64(clockParts) {
		for i, s := range p.mux.Services {
			if !s.Dead {
				put(int(part*p.packets/clockParts), sendClock+uint16(i))
			}
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
	var shares [32]share
	left, room := int64(0), p.packets-int64(taken)
	for i, s := range p.streams {
		first, end := s.firstIn(n), s.firstIn(n+1)
		sl.cursors[i] = s.at(first)
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
			s.put(out, &sl.cursors[what], p.pcr(sl), sl.offset, p.mux.Services[p.owner[what]].Scrambled)
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
	default:
		i := int(what - sendTable)
		t := sl.tables[i]
		if service != allServices && t.service != allServices && t.service != service {
			break
		}
		*out = ts.Packet(sl.packets[i*ts.PacketSize:])
		if t.pat && service != allServices {
			cc := out.Continuity()
			*out = p.pat[service]
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
	pid := p.mux.Services[i].pcrPID()
	h := ts.Header{PID: pid, HasPCR: true, PCR: p.pcr(sl)}
	h.Discontinuity = sl.jump && sl.at < len(sl.layout)/clockParts && !p.mux.Jump.Silent
	for j, s := range p.streams {
		if s.pid == pid {
			h.Continuity = (sl.cursors[j].cc - 1) & 0x0f
		}
	}
	out.Fill(&h, nil)
}

// pcr is the clock at the next packet of the slot.
func (p *plan) pcr(sl *slot) uint64 {
	at := (sl.number*slotTicks + int64(sl.offset)) % clock.Wrap * 300 // 27 MHz
	return uint64(at+int64(sl.at)*slotPCR/p.packets) % clock.SystemWrap
}
