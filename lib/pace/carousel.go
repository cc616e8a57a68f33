package pace

import (
	"sync"
	"time"

	"every.channel/ec/lib/clock"
	"every.channel/ec/lib/psi"
	"every.channel/ec/lib/ts"
)

const (
	// apart is how far apart two sections of one table are (EN 300 468 §5.1.4).
	apart = 25 * clock.SystemMillisecond
	// spread is how far apart two packets of SI are: the buffer for tables holds 512 bytes and is emptied at 1 Mbit/s (H.222.0 §2.4.2.3).
	spread = 1600 * clock.SystemMillisecond / 1000
	// maxTables bounds the sections of a carousel.
	maxTables = 1 << 14
	// maxComing bounds what is held of what is still to come: some hours, and less than the 13 after which it is not clear what comes first.
	maxComing = 1 << 13
	// outdated is after how long a section is dropped that was not said again. An si track has all sections every 10 minutes.
	outdated = 30 * 60 * clock.SystemHz
)

// Carousel sends the SI of a broadcast again and again, as often as A/65 §7.3 and TR 101 211 §4.4 ask, with time tables made anew. Tables
// are those of the whole multiplex of the broadcaster; what is said of other services is left out. Its methods may be called concurrently;
// NewCarousel makes one.
type Carousel struct {
	pat psi.Assembler // of watch

	mu      sync.Mutex // guards what follows
	room    sync.Cond  // there may be room for what is to come
	closed  bool
	program uint16            // of the stream's PAT, 0: not known
	coming  []table           // whose time has not come
	times   []clock.Reference // the same
	tables  map[tableKey]*table
	guide   map[ts.PID]uint16 // table_type of an ATSC table, by PID (A/65 §6.2)
	source  uint16            // source_id of the program in the VCT
	utc     clock.Reference   // what time it is at a PCR
	told    bool              // utc is known

	cc    map[ts.PID]uint8
	queue []byte // packets of the section being sent
	next  clock.Ticks27
	at    clock.Ticks27             // the last time of packet
	free  map[tableID]clock.Ticks27 // when a table may be sent again
	look  clock.Ticks27             // before then no table is due
	buf   []byte
}

// tableID is what sections must lie apart on: a table_id of a PID.
type tableID struct {
	pid ts.PID
	id  uint8
}

// tableKey is what a section takes the place of.
type tableKey struct {
	tableID
	extension uint16
	number    uint8
	net       uint32 // transport_stream_id and original_network_id of an EIT, ETM_id of an ETT
}

type table struct {
	key     tableKey
	from    clock.PTS // from when on the section holds
	section []byte
	every   clock.Ticks27
	due     clock.Ticks27
	said    clock.Ticks27 // when the section was told last
}

// NewCarousel returns a carousel without tables.
func NewCarousel() *Carousel {
	c := &Carousel{tables: map[tableKey]*table{}, guide: map[ts.PID]uint16{}, cc: map[ts.PID]uint8{}, free: map[tableID]clock.Ticks27{}}
	c.room.L = &c.mu
	return c
}

// Section takes a section that holds from a place on: a table may come before the media beside which it was sent. Section and Time wait
// while very much is held that is still to come.
func (c *Carousel) Section(from clock.PTS, pid uint16, section []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wait()
	c.coming = append(c.coming, table{key: tableKey{tableID: tableID{pid: ts.PID(pid)}}, from: from, section: section})
	c.look = 0
}

// Time takes what time it was at a place.
func (c *Carousel) Time(at clock.PTS, utc time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wait()
	c.times = append(c.times, clock.Reference{UTC: utc, PCR: at.PCR()})
	c.look = 0
}

// Empty reports whether no section has come.
func (c *Carousel) Empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.coming)+len(c.tables) == 0
}

// wait waits for room; mu is held.
func (c *Carousel) wait() {
	for len(c.coming)+len(c.times) >= maxComing && !c.closed {
		c.room.Wait()
	}
	if c.closed {
		c.coming, c.times = nil, nil
	}
}

// close ends the waiting of Section and Time.
func (c *Carousel) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.room.Broadcast()
}

// watch looks at a packet of the stream for the PAT; one goroutine calls it.
func (c *Carousel) watch(p *ts.Packet) {
	if p.PID() != ts.PIDPAT {
		return
	}
	c.pat.Feed(p, func(section []byte) {
		pat, err := psi.ParsePAT(section)
		if err != nil {
			return
		}
		for _, e := range pat.Programs {
			if e.Number != 0 {
				c.mu.Lock()
				c.program = e.Number
				c.mu.Unlock()
				return
			}
		}
	})
}

// packet is the next packet at a time of the stream's clock, nil if none is due.
func (c *Carousel) packet(t clock.Ticks27) *ts.Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.program == 0 {
		return nil
	}
	if t < c.at || t > c.at+leap { // the clock began anew
		c.next, c.look, c.free = t, 0, map[tableID]clock.Ticks27{}
		for _, e := range c.tables {
			e.due, e.said = t, t
		}
	}
	c.at = t
	if t < c.next {
		return nil
	}
	if len(c.queue) == 0 && (t < c.look || !c.choose(t)) {
		return nil
	}
	p := (*ts.Packet)(c.queue)
	c.queue = c.queue[ts.PacketSize:]
	c.next = t + spread
	return p
}

// choose puts the packets of the table that is due for the longest time into the queue.
func (c *Carousel) choose(t clock.Ticks27) bool {
	c.begin(t)
	var next *table
	c.look = t + clock.SystemHz
	for k, e := range c.tables {
		if t-e.said > outdated {
			delete(c.tables, k)
			continue
		}
		at := max(e.due, c.free[e.key.tableID])
		if at > t {
			c.look = min(c.look, at)
		} else if next == nil || e.due < next.due {
			next = e
		}
	}
	if next == nil {
		return false
	}
	c.look = t
	next.due = t + next.every
	c.free[next.key.tableID] = t + apart
	section := next.section
	if timed(section[0]) {
		if section = psi.WithTime(section, c.now(t)); !c.told || section == nil {
			return false
		}
	}
	cc := c.cc[next.key.pid]
	c.buf = psi.AppendPackets(c.buf[:0], next.key.pid, &cc, section)
	c.cc[next.key.pid] = cc
	c.queue = c.buf
	return true
}

// now is the time of the broadcast.
func (c *Carousel) now(t clock.Ticks27) time.Time {
	return c.utc.At(clock.PCR(0).Add(t).PTS())
}

// begin takes up the sections whose time has come.
func (c *Carousel) begin(t clock.Ticks27) {
	pts := clock.PCR(0).Add(t).PTS()
	rest := c.coming[:0]
	for _, e := range c.coming {
		if e.from.Sub(pts) > 0 {
			rest = append(rest, e)
		} else {
			c.take(e.key.pid, e.section, t)
		}
	}
	clear(c.coming[len(rest):])
	c.coming = rest
	times := c.times[:0]
	for _, r := range c.times {
		if r.PCR.PTS().Sub(pts) > 0 {
			times = append(times, r)
		} else {
			c.utc, c.told = r, true
		}
	}
	c.times = times
	c.room.Broadcast()
}

// take puts a section in the place of the one before, or drops it if it is of another service.
func (c *Carousel) take(pid ts.PID, section []byte, t clock.Ticks27) {
	if len(section) < 3 {
		return
	}
	every := c.every(pid, section)
	if every == 0 {
		return
	}
	if section = c.ours(section); section == nil {
		return
	}
	k := keyOf(pid, section)
	e := c.tables[k]
	if e == nil {
		if len(c.tables) >= maxTables {
			return
		}
		e = &table{key: k}
		c.tables[k] = e
	}
	e.section, e.every, e.due, e.said = section, every, t, t
	tdt := tableKey{tableID: tableID{ts.PIDTDT, psi.TableTDT}}
	if pid > ts.PIDTDT {
		return
	}
	if c.tables[tdt] == nil {
		c.tables[tdt] = &table{key: tdt, section: psi.TDT{}.Append(nil), every: timeEvery, due: t}
	}
	c.tables[tdt].said = t
}
